"""A function at the edge writes, one in the cloud reads: pip install nats-py;
python examples/across_sites.py nats://127.0.0.1:4222 edge nats://127.0.0.1:4223 cloud

Each speaks to the NATS server of its own site alone. What a session has seen is named with it, so that an answer at
the other site is never older.
"""
import asyncio, sys
import nats


def checked(reply):
    if code := (reply.headers or {}).get("Nats-Service-Error-Code"):
        raise SystemExit(f"{code}: {reply.headers['Nats-Service-Error']}")
    return reply


async def function(url, site):
    nc = await nats.connect(url)

    async def ask(verb, body=b"", **headers):
        named = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        return await nc.request(f"mesh.{site}.{verb}", body, timeout=10, headers=named)

    return nc, ask


async def main(edge_url, edge_name, cloud_url, cloud_name):
    edge_nc, edge = await function(edge_url, edge_name)
    cloud_nc, cloud = await function(cloud_url, cloud_name)

    for level in ("4.72 m", "4.81 m", "4.95 m"):
        pushed = checked(await edge("push", level.encode(), Mesh_Address="meteo/harbour/gauge"))
        seen = pushed.headers["Mesh-Session"]
        pulled = checked(await cloud("pull", Mesh_Address="meteo/harbour/gauge", Mesh_Session=seen))
        print(f"{edge_name} wrote {level}, {cloud_name} reads {pulled.data.decode()}")

    # Of two that want to be the first at one site, one is; a collection with a home_site has that for all sites.
    for who in ("one", "another"):
        tried = await cloud("push", who.encode(), Mesh_Address="meteo/lock", If_None_Match="*")
        code = (tried.headers or {}).get("Nats-Service-Error-Code", "")
        print(who, "has the lock" if not code else f"comes late: {code}")

    await edge_nc.close()
    await cloud_nc.close()


asyncio.run(main(*sys.argv[1:]))
