# The pipeline on a GPU, in a container. Not built yet: there was no Docker where this was written.
#
#   docker build --tag fsat .
#   docker run --gpus all --volume "$PWD":/fsat fsat
#
# The repository is mounted, so that data/, the DVC cache and what the run leaves stay outside the container.
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*

COPY requirements.txt pyproject.toml /setup/
RUN pip install --no-cache-dir --require-hashes --requirement /setup/requirements.txt \
    && version=$(pip show tensorflow | sed -n 's/^Version: //p') \
    && pip install --no-cache-dir "tensorflow[and-cuda]==${version}"

# The mounted repository belongs to the user outside.
RUN git config --system --add safe.directory /fsat
WORKDIR /fsat
CMD ["dvc", "repro"]
