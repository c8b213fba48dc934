# Images of dawnchorus: `docker build --target cpu -t dawnchorus .`, or `--target cuda` with PyTorch for NVIDIA's GPUs.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir "build>=1.2" && python -m build --wheel --outdir /wheels

FROM python:${PYTHON}-slim AS base
# KubeRay's probes call wget.
RUN apt-get update && apt-get install --yes --no-install-recommends wget && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home dawnchorus
COPY --from=wheel /wheels /wheels
COPY constraints.txt /wheels/
ENV OMP_WAIT_POLICY=PASSIVE RAY_USAGE_STATS_ENABLED=0
HEALTHCHECK --interval=60s --timeout=30s --start-period=30s CMD ["dawnchorus", "--version"]
WORKDIR /data

FROM base AS cuda
RUN pip install --no-cache-dir --constraint /wheels/constraints.txt "$(ls /wheels/dawnchorus-*.whl)[train,storage,cluster]"
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER dawnchorus
CMD ["dawnchorus", "--help"]

# Predicts with exported models, by OpenVINO or ONNX Runtime, without PyTorch.
FROM base AS cpu
RUN pip install --no-cache-dir --constraint /wheels/constraints.txt "$(ls /wheels/dawnchorus-*.whl)[storage,cluster]"
USER dawnchorus
CMD ["dawnchorus", "--help"]
