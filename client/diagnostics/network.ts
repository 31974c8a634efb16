import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { connectionFailure } from '../../protocol/link/connection-failure.ts'
import { bareHost, connectTo, WayOut } from '../../protocol/node/way-out.ts'
import type { Reach } from '../../protocol/options.ts'
import { spanText } from './spans.ts'
import type { Steps } from './steps.ts'

/** A certificate that is good for less than this is told as one that ends soon, in ms. */
const SOON_MS = 14 * 86_400_000

/**
 * The steps `dns`, `tcp`, `http-proxy` and `tls` of an address: with an HTTP proxy on the way the first two are of that.
 * Answers why no link can be tried, or nothing.
 * @throws {TunnelError} CONFIG_INVALID
 */
export async function tryNetwork(url: string, reach: Reach, steps: Steps): Promise<string | undefined> {
  const wayOut = await WayOut.to(url, reach)
  const { proxy } = wayOut
  const first = proxy ?? new URL(url.replace(/^ws/, 'http'))
  const host = bareHost(first)
  if (isIP(host) !== 0) steps.skip('dns', 'the address has no name to look up')
  else if (!(await steps.run('dns', () => addressesOf(host)))) {
    steps.skip(['tcp', 'http-proxy', 'tls'], 'the name has no address')
    return 'the name has no address'
  }
  const isThere = await steps.run('tcp', async (signal) => {
    const socket = await told(first.host, connectTo(first, signal)).catch((error: TunnelError) => {
      throw proxy === undefined ? error : ofHttpProxy(error)
    })
    const { remoteAddress, remotePort } = socket
    socket.destroy()
    return `${remoteAddress}, port ${remotePort}`
  })
  if (proxy === undefined) steps.skip('http-proxy', 'no HTTP proxy is used')
  const isOpen = isThere && (proxy === undefined || (await tryProxy(wayOut, proxy, steps)))
  if (!isOpen) {
    if (proxy !== undefined && !isThere) steps.skip('http-proxy', 'nothing is connected')
    steps.skip('tls', 'nothing is connected')
    return 'nothing is connected'
  }
  if (!wayOut.isTls) {
    steps.skip('tls', 'the address begins with http://, which is not encrypted')
    return undefined
  }
  const { host: where } = new URL(url)
  return (await steps.run('tls', (signal) => shakeHands(where, wayOut, signal)))
    ? undefined
    : 'it is not known who answers there'
}

/** It is not the tunnel's proxy that has to be started. */
function ofHttpProxy(error: TunnelError): TunnelError {
  const text = `the HTTP proxy on the way: ${error.message}`
  return new TunnelError('HTTP_PROXY_FAILED', text, { cause: error, hop: 'link' })
}

/** Whether the HTTP proxy opens the way. */
function tryProxy(wayOut: WayOut, proxy: URL, steps: Steps): Promise<boolean> {
  return steps.run('http-proxy', async (signal) => {
    const socket = await told(proxy.host, wayOut.openBare({ signal }))
    socket.destroy()
    return `through ${proxy.host}`
  })
}

async function addressesOf(host: string): Promise<string> {
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address).join(', ')
  } catch (cause) {
    throw new TunnelError('DNS_FAILED', `the name ${host} could not be resolved`, { cause, hop: 'client' })
  }
}

function told<T>(where: string, opened: Promise<T>): Promise<T> {
  return opened.catch((error: unknown) => {
    throw connectionFailure(where, error)
  })
}

/** What TLS agreed on, and how long the certificate is good. Nothing is sent. */
async function shakeHands(where: string, wayOut: WayOut, signal: AbortSignal): Promise<string> {
  const tls = (await told(where, wayOut.open({ signal }))) as TLSSocket
  try {
    return factsOf(tls)
  } finally {
    tls.destroy()
  }
}

function factsOf(tls: TLSSocket): string {
  const { valid_to: validTo } = tls.getPeerCertificate()
  const leftMs = Date.parse(validTo) - Date.now()
  const { name, type } = tls.getEphemeralKeyInfo() as { name?: string; type?: string }
  const ends = new Date(validTo).toISOString().slice(0, 10)
  const until = `good until ${ends}${leftMs < SOON_MS ? `, which is in ${spanText(leftMs)}` : ''}`
  return [tls.getProtocol(), name ?? type, tls.getCipher().name, until].filter(Boolean).join(', ')
}
