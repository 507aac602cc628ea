# Training and export: torch, timm and MONAI beside the base install, as a user who is not root. From the repository's root:
#
#     docker build -f deploy/images/training.Dockerfile -t demur-training .
#     docker run --gpus all --shm-size 8g -v ./work:/work demur-training train --studies studies.csv --config ... --out run/
#
# The folder /work must belong to user 10001. A service never runs from this image.

FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE demur.py ./
COPY models models
COPY calibration calibration
COPY training training
COPY deploy deploy
COPY service service
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[train]'

FROM python:3.11-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links=/wheels 'demur[train]' \
    && install --directory --owner=10001 --group=10001 /work /home/demur
ENV PYTHONUNBUFFERED=1 \
    HOME=/home/demur
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["demur"]
CMD ["--help"]
