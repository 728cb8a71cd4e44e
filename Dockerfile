# One image for MLflow, the dashboard, Ray's nodes and `hpo`; TORCH picks PyTorch's build: cpu, cu126, cu128, cu130...
FROM python:3.12-slim
ARG TORCH=cpu
# torch.compile has a C++ compiler at work
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
# what changes seldom comes first: a new version of hpo is one small layer
RUN pip install --no-cache-dir uv && uv pip install --system --no-cache --torch-backend="$TORCH" torch torchvision
WORKDIR /src
COPY pyproject.toml ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    print(*p['dependencies'], *p['optional-dependencies']['service'], sep='\n')" > /tmp/needed \
    && pip install --no-cache-dir --requirement /tmp/needed && rm /tmp/needed
COPY README.md LICENSE ./
COPY trainers trainers
COPY hpo hpo
RUN pip install --no-cache-dir --no-deps .
# new volumes take owner and mode of these folders
RUN useradd --create-home hpo && install -d -o hpo -g hpo -m 700 /hpo /artifacts /tmp/ray
USER hpo
WORKDIR /home/hpo
CMD ["hpo", "--help"]
