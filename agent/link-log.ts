import { carriedBy } from '../dial/carrier.ts'
import type { Connection } from '../dial/connection.ts'
import type { TransportKind } from '../protocol/link/transport.ts'
import type { AgentLog } from './options.ts'

/** Tells the log what becomes of the links to the proxy at `url`; `streams` is how many stand when one is back. */
export function logLinks(connection: Connection, url: string, streams: () => number, log: AgentLog): void {
  let lostAtMs: number | undefined
  connection.on('lost', ({ code, message }) => {
    lostAtMs = performance.now()
    if (code === 'ABORTED') log('info', 'the link is dialled again to tell the new host key')
    else log('warn', `link lost: ${message}`, { code })
  })
  let carrier: TransportKind = 'websocket'
  connection.on('link', ({ transport, detour }) => {
    if (transport !== carrier) log('warn', carriedBy(transport, detour), { url })
    carrier = transport
    if (lostAtMs === undefined) return
    const seconds = ((performance.now() - lostAtMs) / 1_000).toFixed(1)
    lostAtMs = undefined
    log('info', `on line again after ${seconds} s`, { streams: streams() })
  })
  connection.on('redial', ({ attempt, delayMs, error: { code, message } }) => {
    // The first dial after a loss is made at once, and the loss was told.
    if (attempt === 1 && lostAtMs !== undefined) return
    log('warn', `${message}; dialling again in ${(delayMs / 1_000).toFixed(1)} s`, { code, url })
  })
  connection.on('tokenFailed', ({ code, message }) => log('warn', `no fresh token: ${message}`, { code }))
}
