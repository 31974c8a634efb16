import { lookup } from 'node:dns/promises'
import { isIP, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { tlsFailure } from '../../protocol/link/dial-failure.ts'
import { connectToAny } from '../../protocol/node/connect.ts'
import { spanText } from './proxy-steps.ts'
import type { Steps } from './steps.ts'

/** A certificate that is good for less than this is told as one that ends soon, in ms. */
const SOON_MS = 14 * 86_400_000

/** The steps `dns`, `tcp` and `tls` of an address. Answers why no link can be tried, or nothing. */
export async function tryNetwork(url: string, steps: Steps): Promise<string | undefined> {
  const { hostname, port, protocol } = new URL(url)
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const isTls = protocol === 'wss:' || protocol === 'https:'
  const where = { host, port: port === '' ? (isTls ? 443 : 80) : Number(port) }
  if (isIP(host) !== 0) steps.skip('dns', 'the address is no name')
  else if (!(await steps.run('dns', () => addressesOf(host)))) {
    steps.skip(['http-proxy', 'tcp', 'tls'], 'the name has no address')
    return 'the name has no address'
  }
  steps.skip('http-proxy', 'none is used')
  const isThere = await steps.run('tcp', async (signal) => {
    const socket = await connectTo(where, signal)
    const { remoteAddress, remotePort } = socket
    socket.destroy()
    return `${remoteAddress}, port ${remotePort}`
  })
  if (!isThere) {
    steps.skip('tls', 'nothing is connected')
    return 'nothing is connected'
  }
  if (!isTls) {
    steps.skip('tls', 'the address begins with http://, which is not encrypted')
    return undefined
  }
  return (await steps.run('tls', (signal) => shakeHands(where, signal)))
    ? undefined
    : 'nobody knows who answers there'
}

interface Where {
  host: string
  port: number
}

async function addressesOf(host: string): Promise<string> {
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address).join(', ')
  } catch (cause) {
    throw new TunnelError('DNS_FAILED', `the name ${host} could not be resolved`, { cause, hop: 'client' })
  }
}

async function connectTo({ host, port }: Where, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const callOff = connectToAny({ host, port }, (error, socket) => {
      signal.removeEventListener('abort', callOff)
      if (socket !== undefined) return resolve(socket)
      const { code } = error as NodeJS.ErrnoException
      const text =
        code === 'ECONNREFUSED'
          ? `nothing listens at ${host}, port ${port}`
          : `${host}, port ${port}, could not be reached (${code})`
      reject(new TunnelError('CONNECT_REFUSED', text, { cause: error, hop: 'proxy' }))
    })
    signal.addEventListener('abort', callOff)
  })
}

/** What TLS agreed on, and the dates of the certificate: of one that is not good too. Nothing is sent. */
async function shakeHands(where: Where, signal: AbortSignal): Promise<string> {
  const { host } = where
  const socket = await connectTo(where, signal)
  const tls = connectTls({
    socket,
    servername: isIP(host) === 0 ? host : '',
    host,
    rejectUnauthorized: false,
  })
  try {
    await handshake(tls, host, signal)
    const facts = factsOf(tls)
    if (tls.authorized) return facts
    const reason = String(tls.authorizationError)
    const text = `${host}: ${tlsFailure(reason, reason) ?? reason}; ${facts}`
    throw new TunnelError('CONNECT_REFUSED', text, { hop: 'proxy' })
  } finally {
    tls.on('error', () => {}).destroy()
  }
}

async function handshake(tls: TLSSocket, host: string, signal: AbortSignal): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      tls.once('secureConnect', resolve)
      tls.once('error', reject)
      signal.addEventListener('abort', () => reject(signal.reason as Error))
    })
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    const text = tlsFailure(code, message) ?? `there was no handshake (${code})`
    throw new TunnelError('CONNECT_REFUSED', `${host}: ${text}`, { cause: error, hop: 'proxy' })
  }
}

function factsOf(tls: TLSSocket): string {
  const { valid_to: validTo } = tls.getPeerCertificate()
  const leftMs = Date.parse(validTo) - Date.now()
  const { name, type } = tls.getEphemeralKeyInfo() as { name?: string; type?: string }
  const group = name ?? type
  const ends = new Date(validTo).toISOString().slice(0, 10)
  const until =
    leftMs < 0
      ? `it expired on ${ends}`
      : `good until ${ends}${leftMs < SOON_MS ? `, which is in ${spanText(leftMs)}` : ''}`
  return [tls.getProtocol(), group, tls.getCipher().name, until].filter(Boolean).join(', ')
}
