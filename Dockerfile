# An image with privllm, and nothing of yours: documents, builds and models are in the folder that is mounted at /project.
#
#   docker build --tag privllm .
#   docker run --rm --read-only --tmpfs /tmp --user "$(id -u):$(id -g)" --volume "$PWD:/project" privllm plan
#
# docs/guides/install.md has the rest: CUDA, the build of torch for CPUs, serving.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS system
# git is what DVC reads commits with; a base without Python (CUDA's on Ubuntu) gets its own. Debian keeps one version of each, the
# patched one, so they are not pinned; ${python} is two words.
# hadolint ignore=DL3008,SC2086
RUN apt-get update \
    && if ! command -v python3 >/dev/null; then python="python3 python3-venv"; fi \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends git ${python:-} \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /project

FROM system AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PATH=/opt/privllm/bin:${PATH}
WORKDIR /build
COPY privllm/__init__.py privllm/__init__.py
RUN python3 privllm/__init__.py && python3 -m venv /opt/privllm
# The version of requirements.lock; +cpu, or another build, is given with its index: --build-arg PIP_EXTRA_INDEX_URL=...
ARG TORCH=2.13.0
ARG PIP_EXTRA_INDEX_URL
RUN pip install torch==${TORCH}
COPY requirements.lock .
RUN pip install --no-deps --require-hashes --requirement requirements.lock
COPY . .
RUN pip install --no-deps --no-build-isolation --no-index .

FROM system
COPY --from=build /opt/privllm /opt/privllm
# What libraries keep for themselves goes to /tmp, a tmpfs or a folder that is mounted there. DVC asks for a user's name, which a
# number given by --user does not have.
ENV PATH=/opt/privllm/bin:${PATH} \
    USER=privllm \
    HOME=/tmp/home \
    XDG_CACHE_HOME=/tmp/cache \
    DVC_SITE_CACHE_DIR=/tmp/dvc \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /project
EXPOSE 8000
# For `privllm serve`; other commands end before the first check.
HEALTHCHECK --start-period=120s --interval=30s --timeout=5s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/', timeout=4)"]
ENTRYPOINT ["privllm"]
CMD ["--help"]
