# Runners with the libraries of CUDA. The driver is the host's: run it with NVIDIA's container toolkit (--gpus all, nvidia.com/gpu).
# By digest a base stays what it is: --build-arg CUDA_IMAGE=nvidia/cuda:12.9.1-base-ubuntu24.04@sha256:...
ARG CUDA_IMAGE=nvidia/cuda:12.9.1-base-ubuntu24.04
ARG UV_IMAGE=ghcr.io/astral-sh/uv:0.9

FROM ${UV_IMAGE} AS uv

FROM ${CUDA_IMAGE} AS python
# The distribution's Python (3.11 or newer), git for environments, tini to reap what guests leave behind.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git python3 tini \
    && rm -rf /var/lib/apt/lists/*

FROM python AS builder
ARG EXTRAS=services
ENV UV_PYTHON=python3 UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/penstock UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /build
COPY --from=uv /uv /usr/local/bin/uv
COPY pyproject.toml uv.lock ./
COPY deploy/docker/install.sh deploy/docker/
COPY deploy/docker/wheelhouse/ deploy/docker/wheelhouse/
RUN sh deploy/docker/install.sh dependencies
COPY . .
RUN sh deploy/docker/install.sh penstock && mkdir -p /state/cache

FROM python AS gpu-runner
COPY --from=builder /opt/penstock /opt/penstock
# All that services write to.
COPY --from=builder --chown=65532:65532 /state /var/lib/penstock
COPY deploy/docker/healthcheck.py /opt/penstock/healthcheck.py
ENV PATH=/opt/penstock/bin:/usr/local/nvidia/bin:/usr/local/cuda/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/var/lib/penstock \
    PENSTOCK_CACHE_FOLDER=/var/lib/penstock/cache \
    PENSTOCK_HEALTH_ADDRESS=0.0.0.0:9090 \
    PENSTOCK_LOG_FORMAT=json \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /var/lib/penstock
VOLUME /var/lib/penstock
USER 65532:65532
EXPOSE 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python3", "-I", "-S", "/opt/penstock/healthcheck.py"]
ENTRYPOINT ["tini", "--", "penstock"]
CMD ["runner", "--help"]
