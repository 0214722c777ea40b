"""Push and pull with any NATS library: pip install nats-py; python examples/nats_push_pull.py nats://127.0.0.1:4222 local

Small objects travel in the message. Larger ones are answered with a ticket, good over HTTP with ranges.
"""
import asyncio, json, sys, urllib.request
import nats


def checked(reply):
    if code := (reply.headers or {}).get("Nats-Service-Error-Code"):
        raise SystemExit(f"{code}: {reply.headers['Nats-Service-Error']}")
    return reply


async def main(url, site):
    nc = await nats.connect(url)
    ask = lambda verb, body=b"", **headers: nc.request(
        f"mesh.{site}.{verb}", body, timeout=10, headers={k.replace("_", "-"): str(v) for k, v in headers.items()}
    )
    pushed = checked(await ask("push", b"4.72 m at 06:00\n", Mesh_Address="meteo/harbour/gauge.txt"))
    print("pushed", pushed.headers["Mesh-Version"], pushed.headers["Mesh-Durability"])
    pulled = checked(await ask("pull", Mesh_Address="meteo/harbour/gauge.txt"))
    print("pulled", pulled.data.decode().strip())

    body = bytes(range(256)) * 8192  # 2 MiB: more than a message carries
    ticket = json.loads(checked(await ask("push", Mesh_Address="meteo/scan.bin", Mesh_Size=len(body))).data)
    put = urllib.request.Request(ticket["urls"][0], body, {"Mesh-Ticket": ticket["token"]}, method="PUT")
    print("ticket", urllib.request.urlopen(put).status)
    ticket = json.loads(checked(await ask("pull", Mesh_Address="meteo/scan.bin")).data)
    get = urllib.request.Request(ticket["urls"][0], headers={"Mesh-Ticket": ticket["token"]})
    print("same", urllib.request.urlopen(get).read() == body)
    await nc.close()


asyncio.run(main(*sys.argv[1:]))
