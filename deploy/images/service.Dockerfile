# The service: the base install, without torch, as a user who is not root. From the repository's root:
#
#     docker build -f deploy/images/service.Dockerfile -t demur .
#     docker run -p 8480:8480 -v demur-data:/data -v ./bundle:/bundle:ro -v ./trusted_keys.txt:/trusted_keys.txt:ro \
#         -e DEMUR_BUNDLE=/bundle -e DEMUR_TRUST=/trusted_keys.txt --read-only --tmpfs /tmp demur
#
# Without a bundle it runs too, and everything is IDK. `demur receive` is the same image with another command, on the same volume:
#
#     docker run -p 11112:11112 -v demur-data:/data --read-only --tmpfs /tmp \
#         --no-healthcheck demur receive --site PACS=north

FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE demur.py ./
COPY models models
COPY calibration calibration
COPY training training
COPY deploy deploy
COPY service service
RUN pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.11-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links=/wheels demur \
    && install --directory --owner=10001 --group=10001 /data
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp \
    DEMUR_HOST=0.0.0.0 \
    DEMUR_DATABASE=sqlite:////data/demur.sqlite \
    DEMUR_STORAGE=/data/files \
    DEMUR_STORAGE_SPOOL=/data/spool \
    DEMUR_DIMSE_HOST=0.0.0.0
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8480 11112
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8480/healthz', timeout=4)"]
ENTRYPOINT ["demur"]
CMD ["serve"]
