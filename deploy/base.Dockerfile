# The default workspace image, och/base:1, for people who have a registry:
#   docker build -t och/base:1 -f deploy/base.Dockerfile deploy
# Without one, `och images build` makes the same from Debian packages.
FROM debian:bookworm-slim

RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      bc \
      ca-certificates \
      git \
      jq \
      make \
      patch \
      procps \
      python-is-python3 \
      python3 \
      python3-pytest \
 && rm -rf /var/lib/apt/lists/*

LABEL och.base=1
WORKDIR /workspace
CMD ["/bin/sh"]
