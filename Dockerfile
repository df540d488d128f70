# SPDX-License-Identifier: Apache-2.0
# docker build -t thebes . && docker run -p 4222:4222 -v thebes:/data thebes

FROM debian:12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
    gcc libc6-dev cmake ninja-build pkg-config \
    libuv1-dev libssl-dev libraft-dev liblmdb-dev libjansson-dev node-llhttp libxxhash-dev libcrypt-dev libcmocka-dev
COPY . /src
WORKDIR /src
RUN cmake --preset release && cmake --build --preset release && strip --strip-unneeded build/release/thebes

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends libuv1 libssl3 libraft2 liblmdb0 libjansson4 libcrypt1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home thebes && install -d -o thebes -g thebes /data
COPY --from=build /src/build/release/thebes /usr/bin/thebes
USER thebes
VOLUME /data
EXPOSE 4222 8222
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["thebes", "station", "ls", "--json"]
ENTRYPOINT ["thebes", "server"]
CMD ["-a", "0.0.0.0", "-p", "4222", "-m", "8222", "-js", "-sd", "/data"]
