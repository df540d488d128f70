# SPDX-License-Identifier: Apache-2.0
# docker build -t thebes . && docker run -p 4222:4222 -v thebes:/data thebes
# Another configuration: docker run … -v ./thebes.conf:/etc/thebes.conf thebes -c /etc/thebes.conf (with store_dir "/data", and http_port 8222 for the
# health check).

FROM debian:12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
    gcc libc6-dev cmake ninja-build pkg-config \
    libuv1-dev libssl-dev libraft-dev liblmdb-dev libjansson-dev node-llhttp libxxhash-dev libcrypt-dev libcmocka-dev \
 && rm -rf /var/lib/apt/lists/*
COPY . /src
WORKDIR /src
RUN cmake --preset release && cmake --build --preset release && strip --strip-unneeded build/release/thebes

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
    libuv1 libssl3 libraft2 liblmdb0 libjansson4 libcrypt1 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 thebes \
 && useradd --uid 10001 --gid thebes --no-create-home --home-dir /data --shell /usr/sbin/nologin thebes \
 && install -d -o thebes -g thebes -m 0700 /data
COPY --from=build /src/build/release/thebes /usr/bin/thebes
USER 10001:10001
VOLUME /data
EXPOSE 4222 8222
# Ready for clients, whoever may log in: the monitoring page, asked by bash alone.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8222 && printf 'GET /healthz HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r line <&3 && [[ $line == *' 200 '* ]]"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["thebes", "server"]
CMD ["-a", "0.0.0.0", "-p", "4222", "-m", "8222", "-js", "-sd", "/data"]
