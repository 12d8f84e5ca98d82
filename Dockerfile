# The service in an image: docs/how-to/run-in-a-container.md. Another Python: --build-arg PYTHON=3.12
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# What changes seldom comes first, so that the engine can reuse it.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv --without-pip /opt/velro-auth
RUN python -m pip --python /opt/velro-auth/bin/python install --require-hashes --only-binary=:all: --requirement requirements.lock
RUN python -m venv /opt/build
RUN /opt/build/bin/pip install --require-hashes --only-binary=:all: --requirement requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY velro_auth velro_auth
RUN /opt/build/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /opt/dist .
RUN python -m pip --python /opt/velro-auth/bin/python install --no-deps --no-index --find-links /opt/dist velro-auth

FROM python:${PYTHON}-slim
# Commit and time of the build: --build-arg REVISION=$(git rev-parse HEAD) --build-arg CREATED=$(date -u +%FT%TZ)
ARG REVISION=""
ARG CREATED=""
LABEL org.opencontainers.image.title="velro-auth" \
      org.opencontainers.image.description="A login gateway in front of Supabase Auth" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
RUN groupadd --system --gid 10001 velro && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent velro
COPY --from=build /opt/velro-auth /opt/velro-auth
# TMPDIR: gunicorn's heartbeat and the records of processes go to memory, so the root file system may be read-only.
ENV PATH=/opt/velro-auth/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TMPDIR=/dev/shm \
    LOG_FORMAT=json \
    GIT_COMMIT=${REVISION}
WORKDIR /srv
# By number: Kubernetes does not look up names for runAsNonRoot.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["velro-auth", "health"]
ENTRYPOINT ["velro-auth"]
CMD ["serve"]
