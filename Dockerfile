# The image of every service of docker-compose.yml. `sh scripts/image.sh` gathers what goes in and then builds this:
# meshstore and nats-server, with the libraries of what is not static. There is no shell and no other program.
FROM scratch

# /data, to which whoever the container runs as may write, as to /tmp: a volume takes the mode over, and is one
# container's alone. And the libraries.
COPY root/ /

# The server's own health check needs a program that asks it, so it shares the image with the containers.
COPY nats-server meshstore /

USER 10001:10001
VOLUME /data
ENTRYPOINT ["/meshstore"]
CMD ["help"]
