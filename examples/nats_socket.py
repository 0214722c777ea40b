"""Push and pull over the plain text protocol of NATS: python examples/nats_socket.py 127.0.0.1 4222 local"""
import socket, sys

host, port, site = sys.argv[1], int(sys.argv[2]), sys.argv[3]
wire = socket.create_connection((host, port))
lines = wire.makefile("rb")
lines.readline()  # INFO
wire.sendall(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB inbox 1\r\n')


def ask(verb, address, body=b""):
    head = f"NATS/1.0\r\nMesh-Address: {address}\r\n\r\n".encode()
    wire.sendall(f"HPUB mesh.{site}.{verb} inbox {len(head)} {len(head) + len(body)}\r\n".encode() + head + body + b"\r\n")
    head_bytes, all_bytes = map(int, lines.readline().split()[-2:])
    message = lines.read(all_bytes + 2)
    return message[:head_bytes].decode(), message[head_bytes:-2]


print(ask("push", "meteo/harbour/gauge.txt", b"4.72 m at 06:00")[0].strip())
print(ask("pull", "meteo/harbour/gauge.txt")[1].decode())
