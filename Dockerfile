# One image for every Python service of docker-compose.yml. The lock holds the development tools too: one lock, one set of
# versions, in the checkout, in CI and here.
FROM python:3.11-slim-bookworm

# USER and HOME are named because the container may run under a number that has no account.
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HOME=/tmp USER=maintenance LOGNAME=maintenance TZ=UTC

WORKDIR /app

# A layer of its own: it is built anew only when the lock changes. pip compiles what it installs; without bytecode
# every process would compile 15 to 20 s of imports again.
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock

# .dockerignore lets through what the program needs and nothing else.
COPY . .
RUN pip install --no-build-isolation --no-deps --editable . && python -m compileall -q .

USER 1000:1000
CMD ["maintenance", "--help"]
