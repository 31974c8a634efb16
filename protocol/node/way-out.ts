import { readFileSync } from 'node:fs'
import { isIP, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls, type SecureContextOptions, type TLSSocket } from 'node:tls'
import { TunnelError } from '../codec/errors.ts'
import type { Reach, TlsOptions } from '../options.ts'
import { certificateFailure } from './certificate.ts'
import { connectToAny } from './connect.ts'
import { connectThrough, parseProxy, proxyAuthorization } from './http-proxy.ts'

/** What a program's user gets who says nothing. */
const USUAL: Reach = {
  network: { transport: 'auto', proxy: 'environment' },
  tls: { minVersion: 'TLSv1.3' },
}

interface Attempt {
  /** Ends it, with what it has opened. */
  signal: AbortSignal
  /** Somebody is there: the first hop has taken the TCP connection. @default nothing */
  connected?: () => void
}

/** How connections to one address of a tunnel proxy are made: by which HTTP proxy, and whom TLS trusts. */
export class WayOut {
  readonly #target: URL
  readonly #tls: SecureContextOptions
  readonly #pin: string | undefined
  readonly #address: string | undefined
  /** The HTTP proxy on the way. */
  readonly proxy: URL | undefined

  /**
   * @param url ws(s) or http(s)
   * @param address which of its host's addresses is meant. @default any
   * @throws {TunnelError} CONFIG_INVALID for a file that cannot be read, or a proxy that is none
   */
  static async to(url: string, reach: Reach = USUAL, address?: string): Promise<WayOut> {
    const target = new URL(url.replace(/^ws/, 'http'))
    return new WayOut(target, reach.tls, await proxyFor(target, reach.network.proxy), address)
  }

  private constructor(target: URL, tls: TlsOptions, proxy: URL | undefined, address: string | undefined) {
    this.#address = address
    this.#target = target
    this.#tls = this.isTls ? contextOf(tls) : {}
    this.#pin = tls.pin
    this.proxy = proxy
    if (tls.pin !== undefined && !this.isTls)
      throw invalid(`tls.pin is given, and ${target.origin} has no TLS: it would prove nothing`)
  }

  get isTls(): boolean {
    return this.#target.protocol === 'https:'
  }

  /** What has to stand before a path, and the headers, where an HTTP proxy is to answer a plain request itself. */
  get absolute(): { origin: string; headers: Record<string, string> } | undefined {
    const { proxy } = this
    if (proxy === undefined || this.isTls) return undefined
    return { origin: this.#target.origin, headers: proxyAuthorization(proxy) }
  }

  /** A connection to the tunnel proxy, whoever stands between; its certificate has been looked at. @throws {Error} */
  async open(attempt: Attempt): Promise<Duplex> {
    const { host } = this.#target
    const socket = await this.openBare(attempt)
    return this.isTls
      ? secure(socket, bareHost(this.#target), host, this.#tls, attempt.signal, this.#pin)
      : socket
  }

  /** Without the TLS of `open`. @throws {Error} */
  async openBare({ signal, connected = () => {} }: Attempt): Promise<Duplex> {
    if (this.proxy === undefined) return connectTo(this.#target, signal, connected, this.#address)
    const dial = this.#proxyDialler({ signal, connected })
    return connectThrough(this.proxy, authorityOf(this.#target), dial, signal)
  }

  /**
   * For `createConnection` of Node's http.
   * @param open `open`, or `openFirst`
   */
  static joined(open: () => Promise<Duplex>) {
    return (_options: unknown, done: (error: Error | null, socket?: Duplex) => void): undefined => {
      open().then((socket) => {
        if (socket.destroyed) done(socket.errored ?? new Error('the connection was closed at once'))
        else done(null, socket)
      }, done)
    }
  }

  /** The same to whoever reads a plain request first: the HTTP proxy where there is one. */
  openFirst(attempt: Attempt): Promise<Duplex> {
    if (this.absolute === undefined) return this.open(attempt)
    return new Promise((resolve, reject) => {
      this.#proxyDialler(attempt)((error, socket) => (socket === undefined ? reject(error) : resolve(socket)))
    })
  }

  #proxyDialler({ signal, connected = () => {} }: Attempt) {
    const proxy = this.proxy as URL
    return (done: (error: Error | null, socket?: Duplex) => void): void => {
      connectTo(proxy, signal, connected)
        .then((socket): Duplex | Promise<Duplex> =>
          proxy.protocol === 'https:' ? secure(socket, bareHost(proxy), proxy.host, {}, signal) : socket,
        )
        .then((socket) => done(null, socket), done)
    }
  }
}

function invalid(message: string, cause?: unknown): TunnelError {
  return new TunnelError('CONFIG_INVALID', message, { cause, hop: 'client' })
}

/** @param choice the setting `network.proxy` */
async function proxyFor(target: URL, choice: string): Promise<URL | undefined> {
  if (choice === 'none') return undefined
  if (choice !== 'environment') return parseProxy(choice, 'network.proxy')
  // What is on this computer no HTTP proxy reaches.
  if (/^(localhost|127(\.\d+){3}|\[::1\])$/.test(target.hostname)) return undefined
  // It reads the variables itself, in both cases.
  const { getProxyForUrl } = await import('proxy-from-env')
  const found = getProxyForUrl(target.href)
  return found === ''
    ? undefined
    : parseProxy(found, 'the proxy that the environment names (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY)')
}

/** Read for each dial: a certificate that was renewed is used without a restart. */
function contextOf({ ca, cert, key, minVersion }: TlsOptions): SecureContextOptions {
  if ((cert === undefined) !== (key === undefined))
    throw invalid('tls.cert and tls.key belong together: give both, or none')
  return {
    minVersion,
    ...(ca !== undefined && { ca: fileOf('tls.ca', ca) }),
    ...(cert !== undefined && { cert: fileOf('tls.cert', cert) }),
    ...(key !== undefined && { key: fileOf('tls.key', key) }),
  }
}

function fileOf(setting: string, path: string): string {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw invalid(`${setting}: ${path} cannot be read (${(cause as NodeJS.ErrnoException).code})`, cause)
  }
  // OpenSSL takes an authority's file without one for an empty list, and then trusts nobody.
  if (!text.includes('-----BEGIN ')) throw invalid(`${setting}: there is nothing in PEM form in ${path}`)
  return text
}

/** Without the brackets of an IPv6 address. */
export function bareHost({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, '$1')
}

function portOf({ port, protocol }: URL): number {
  return port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port)
}

function authorityOf(url: URL): string {
  return `${url.hostname}:${portOf(url)}`
}

/** A connection to the host of `url`. @throws {Error} */
export function connectTo(
  url: URL,
  signal: AbortSignal,
  connected: () => void = () => {},
  address = bareHost(url),
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const callOff = connectToAny({ host: address, port: portOf(url) }, (error, socket) => {
      signal.removeEventListener('abort', callOff)
      if (socket === undefined) return reject(error)
      keepQuiet(socket)
      connected()
      resolve(socket)
    })
    signal.addEventListener('abort', callOff, { once: true })
  })
}

/** Between two listeners of a connection's errors nobody would hear one; whoever is next finds it destroyed. */
function keepQuiet<Connection extends Duplex>(connection: Connection): Connection {
  return connection.on('error', () => {})
}

/** TLS over a connection, once it is known who is at its other end. */
function secure(
  socket: Duplex,
  host: string,
  where: string,
  context: SecureContextOptions,
  signal: AbortSignal,
  pin?: string,
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    let tls: TLSSocket | undefined
    const fail = (error: Error): void => {
      signal.removeEventListener('abort', onAbort)
      if (tls !== undefined) keepQuiet(tls).destroy()
      socket.destroy()
      reject(error)
    }
    const onAbort = (): void => fail(signal.reason as Error)
    try {
      // Judged below, where the certificate can still be read; nothing is sent, nor handed on, before that.
      const judged = { rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] }
      tls = connectTls({ ...context, ...judged, socket, host, servername: isIP(host) === 0 ? host : '' })
    } catch (cause) {
      return fail(
        invalid(
          `the files of tls.ca, tls.cert and tls.key cannot be used (${(cause as Error).message})`,
          cause,
        ),
      )
    }
    const begun = tls
    begun.once('error', fail)
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) return onAbort()
    begun.once('secureConnect', () => {
      const failure = certificateFailure(begun, where, pin)
      if (failure !== undefined) return fail(failure)
      keepQuiet(begun).off('error', fail)
      signal.removeEventListener('abort', onAbort)
      resolve(begun)
    })
  })
}
