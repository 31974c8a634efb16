import { once } from 'node:events'
import type { Socket } from 'node:net'
import { addressOf } from '../../dial/addresses.ts'
import { PROTOCOL_VERSION } from '../../protocol/codec/hello.ts'
import { Link } from '../../protocol/link/link.ts'
import { localTransport } from '../../protocol/node/local-transport.ts'
import { connectLocal } from './dial.ts'
import { askHubStatus } from './hub-status.ts'
import { socketPaths } from './place.ts'

/** How long a hub has to say who it is, in ms. */
const HELLO_MS = 5_000
const MAX_FRAME_BYTES = 1_048_576

/** The process that keeps a link at `path`; undefined where there is none. */
export async function findHub(path: string): Promise<number | undefined> {
  return (await meet(path))?.pid
}

/** Asks it to end, and waits until it has. Answers with its process, or undefined where there was none. */
export async function endHub(path: string): Promise<number | undefined> {
  const hub = await meet(path, false)
  if (hub === undefined) return undefined
  const closed = once(hub.socket, 'close')
  // Its own word, given a moment ago: no other process can have the number by now.
  process.kill(hub.pid, 'SIGTERM')
  await closed
  return hub.pid
}

/** Ends all that this person keeps to the proxy at `url`, with whichever tokens. Answers with their processes. */
export async function endHubsAt(url: string): Promise<number[]> {
  const { link } = addressOf(url)
  const ended = socketPaths().map(async (path) =>
    (await askHubStatus(path))?.url === link ? endHub(path) : undefined,
  )
  return (await Promise.all(ended)).filter((pid) => pid !== undefined)
}

/** What a hub says of itself. @param leave end the connection at once */
function meet(path: string, leave = true): Promise<{ pid: number; socket: Socket } | undefined> {
  return new Promise((resolve) => {
    void connectLocal(path).then((socket) => {
      if (socket === undefined) return resolve(undefined)
      const timer = setTimeout(() => socket.destroy(), HELLO_MS)
      const link: Link = new Link({
        transport: localTransport(socket, MAX_FRAME_BYTES),
        dialler: true,
        hello: {
          role: 'client',
          version: PROTOCOL_VERSION,
          software: 'tunnel',
          heartbeat: { intervalMs: 60_000, timeoutMs: 90_000 },
          limits: { maxFrameBytes: MAX_FRAME_BYTES, maxStreams: 1 },
          resumeMs: 0,
        },
        handlers: {
          ready: ({ software }) => {
            clearTimeout(timer)
            const pid = Number(/\bup:(\d+)\b/.exec(software ?? '')?.[1])
            resolve(pid > 0 ? { pid, socket } : undefined)
            if (leave) link.close()
          },
          closed: () => {
            clearTimeout(timer)
            resolve(undefined)
          },
        },
      })
    })
  })
}
