import { rmSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { text } from 'node:stream/consumers'
import { type Quality, qualityOf } from '../../client/metrics/quality.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { TransportKind } from '../../protocol/link/transport.ts'
import { withoutAnswer } from './answer-timer.ts'
import { isOwn } from './place.ts'

/** What `tunnel up` says of the link that it keeps. */
export interface HubStatus {
  pid: number
  /** The proxy's address, as a link to it is dialled. */
  url: string
  /** `reconnecting`: it has lost its link, and dials. */
  state: 'connected' | 'reconnecting'
  /** Since when, ISO 8601. */
  since: string
  /** Of the present link, as the next two are. */
  transport: TransportKind | null
  /** Round trip of the last heartbeat, in ms. */
  rttMs: number | null
  quality: Quality
  /** Programs that share the link. */
  programs: number
  /** Their streams, those that wait for a link included. */
  streams: number
}

/** What a hub knows besides its link. Times in epoch ms. */
interface HubFacts extends Pick<HubStatus, 'url' | 'programs' | 'streams'> {
  linkedAtMs: number
  /** @default never */
  lostAtMs: number | undefined
}

export function statusOf(
  link: Link | undefined,
  { url, linkedAtMs, lostAtMs = Number.NEGATIVE_INFINITY, programs, streams }: HubFacts,
): HubStatus {
  const measured = { online: link !== undefined, rttMs: link?.rttMs ?? 0, jitterMs: 0 }
  return {
    pid: process.pid,
    url,
    state: link === undefined ? 'reconnecting' : 'connected',
    since: new Date(link === undefined ? lostAtMs : linkedAtMs).toISOString(),
    transport: link?.transport ?? null,
    rttMs: link?.rttMs ?? null,
    quality: qualityOf({ ...measured, answered: 0, failed: 0, sinceLossMs: Date.now() - lostAtMs }),
    programs,
    streams,
  }
}

/** How long a hub has to answer, in ms. */
const ANSWER_MS = 1_000

/** Beside the socket where links are made, which lets nobody in while there is no link to the proxy. */
function statusPath(path: string): string {
  return path.replace(/\.sock$/, '.status')
}

/** Tells whoever connects. The caller has made sure that the folder is its own, and closes it. */
export function serveStatus(path: string, status: () => HubStatus): Server {
  const server = createServer((socket) => {
    socket.on('error', () => {}).end(JSON.stringify(status()))
  })
  // Nobody's link depends on it.
  server.on('error', () => {})
  server.maxConnections = 16
  rmSync(statusPath(path), { force: true })
  return server.listen(statusPath(path)).unref()
}

/** What the hub at `path` says; undefined where there is none, or none that answers. */
export async function askHubStatus(path: string): Promise<HubStatus | undefined> {
  if (process.platform === 'win32' || !isOwn(path)) return undefined
  const socket = connect(statusPath(path))
  const stop = withoutAnswer(ANSWER_MS, () => socket.destroy(new Error('no answer')))
  try {
    return JSON.parse(await text(socket)) as HubStatus
  } catch {
    return undefined
  } finally {
    stop()
    socket.destroy()
  }
}
