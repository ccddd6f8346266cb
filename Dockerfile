# The command `rankmatch` with PyTorch; docs/install.md shows how to build and run it.
FROM python:3.11.14-slim-bookworm

# cpu, or cuda for NVIDIA GPUs: PyTorch's builds on PyPI bring the CUDA libraries along.
ARG DEVICE=cpu

WORKDIR /source
COPY constraints.txt ./
RUN case "$DEVICE" in \
        cpu) pip install --no-cache-dir -c constraints.txt torch --extra-index-url https://download.pytorch.org/whl/cpu ;; \
        cuda) pip install --no-cache-dir -c constraints.txt torch ;; \
        *) echo "Give DEVICE=cpu or DEVICE=cuda, not $DEVICE." >&2; exit 1 ;; \
    esac
COPY pyproject.toml README.md LICENSE ./
COPY rankmatch_keras rankmatch_keras
RUN pip install --no-cache-dir -c constraints.txt ".[torch,export]"

# Any user may run it (docker run --user) and write what libraries keep: weights, fonts.
RUN useradd --create-home rankmatch && mkdir -m 777 /cache /work
ENV KERAS_BACKEND=torch KERAS_HOME=/cache/keras TORCH_HOME=/cache/torch MPLCONFIGDIR=/cache/matplotlib
USER rankmatch
WORKDIR /work
ENTRYPOINT ["rankmatch"]
CMD ["--help"]
