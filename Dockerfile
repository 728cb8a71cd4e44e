# One image for MLflow, the dashboard, Ray's nodes and `hpo`; TORCH picks PyTorch's build: cpu, cu126, cu128, cu130...
FROM python:3.12-slim
ARG TORCH=cpu
RUN pip install --no-cache-dir torch torchvision --index-url "https://download.pytorch.org/whl/$TORCH"

# what changes seldom first: a new version of hpo alone is a layer of a megabyte
WORKDIR /src
COPY pyproject.toml ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
    | pip install --no-cache-dir --requirement /dev/stdin "ray[default]"
COPY README.md LICENSE ./
COPY trainers trainers
COPY hpo hpo
RUN pip install --no-cache-dir --no-deps .

# new volumes take owner and mode of these folders
RUN useradd --create-home hpo && install -d -o hpo -g hpo -m 700 /hpo /artifacts /tmp/ray
USER hpo
WORKDIR /home/hpo
CMD ["hpo", "--help"]
