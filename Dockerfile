# The pipeline on a GPU, in a container. Not built yet: there was no Docker where this was written.
#
#   docker build --tag fsat .
#   docker run --gpus all --volume "$PWD":/fsat --user "$(id -u):$(id -g)" fsat
#   docker run --gpus all --volume "$PWD":/fsat --user "$(id -u):$(id -g)" fsat python -m fsat.cli tag clip.wav
#
# The repository is mounted: the code is the one beside this file, and data/, the DVC cache and what the run leaves stay
# outside the container, owned by whoever started it.
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*

COPY requirements.txt /setup/
RUN pip install --no-cache-dir --require-hashes --requirement /setup/requirements.txt \
    && version=$(pip show tensorflow | sed -n 's/^Version: //p') \
    && pip install --no-cache-dir "tensorflow[and-cuda]==${version}"

# The user has neither a name nor a home in the container: DVC asks for both, Keras and Numba keep small files.
ENV USER=fsat HOME=/tmp PYTHONPATH=/fsat
RUN git config --system --add safe.directory /fsat
WORKDIR /fsat
CMD ["dvc", "repro"]
