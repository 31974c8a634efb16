import type { Clock } from '../protocol/clock.ts'
import { type ErrorCode, TunnelError } from '../protocol/codec/errors.ts'
import type { Hello } from '../protocol/codec/hello.ts'
import type { Goaway, LinkHandlers } from '../protocol/link/handlers.ts'
import { Link } from '../protocol/link/link.ts'
import type { Traffic } from '../protocol/link/traffic.ts'
import type { CompressionChoice, Dial, DialNear, DialOptions, Transport } from '../protocol/link/transport.ts'
import type { Reach } from '../protocol/options.ts'
import { type Attempt, firstAnswer } from './staggered.ts'
import { askTokenWithin, type TokenAsk, type TokenProvider } from './token.ts'

export interface DiallerOptions {
  urls: readonly string[]
  token: TokenProvider
  /** What each link says first, as it is when the link is dialled. */
  hello: () => Hello
  dial: Dial
  /** Tried before each dial: a way that needs no token. */
  dialNear?: DialNear | undefined
  clock: Clock
  compression?: CompressionChoice | undefined
  /** How the proxy is reached. @default as DialOptions has it */
  reach?: Reach
  /** What the proxy may ask for on every link; an agent accepts streams. */
  accept?: Pick<LinkHandlers, 'open' | 'resume'>
  /** Is told of the links: what they carry, and how long a heartbeat takes. */
  watch?: LinkWatch | undefined
}

export interface LinkWatch {
  /** One sum for all links. */
  traffic: Traffic
  rtt(ms: number): void
}

export interface DialledHandlers {
  /** A link that was handed over is about to be left by its peer. */
  goaway(link: Link, goaway: Goaway): void
  /** A link that was handed over has ended. */
  closed(link: Link, error: TunnelError): void
}

export interface DialledLink {
  link: Link
  /** Empty where the link needed none. */
  token: string
}

/** For one address: TCP, TLS and the upgrade, in ms. */
export const DIAL_MS = 10_000

/** Errors after which dialling again changes nothing. */
const FINAL: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['TAKEN_OVER', 'VERSION_UNSUPPORTED'])

export function isFinal(error: TunnelError): boolean {
  return FINAL.has(error.code) || error.category === 'authentication' || error.category === 'configuration'
}

/** Makes links: tries the addresses, asks for a token before each dial, and once more when it is refused. */
export class Dialler {
  readonly #options: DiallerOptions
  #next = 0
  /** What the provider is told: a token that the proxy has just refused. */
  #ask: TokenAsk = {}
  /** Settles when the provider has answered whoever asked last. */
  #asking: Promise<unknown> = Promise.resolve()

  constructor(options: DiallerOptions) {
    this.#options = options
  }

  /** The next dial begins with another address, where there is one. */
  nextAddress(): void {
    this.#next = (this.#next + 1) % this.#options.urls.length
  }

  /**
   * One round: the first address whose HELLO comes. One that does not answer in time gets company, and does not hold up
   * the round.
   * @throws {TunnelError} the last address's refusal, or the first that is final
   */
  async dial(handlers: DialledHandlers, signal: AbortSignal): Promise<DialledLink> {
    const { urls, clock } = this.#options
    const begin = this.#next
    const at = (place: number): number => (begin + place) % urls.length
    const { place, dialled } = await firstAnswer({
      count: urls.length,
      attempt: async (place, attempt) => {
        const url = urls[at(place)] as string
        return { place, dialled: await this.#dialAddress(url, handlers, attempt) }
      },
      discard: ({ dialled }) => dialled.link.close(),
      isFinal,
      clock,
      signal,
    })
    this.#next = at(place)
    return dialled
  }

  async #dialAddress(url: string, handlers: DialledHandlers, attempt: Attempt): Promise<DialledLink> {
    try {
      return await this.#dialThrough(url, handlers, attempt)
    } catch (error) {
      const refused = error instanceof TunnelError && error.category === 'authentication'
      if (!refused || typeof this.#options.token !== 'function' || attempt.signal.aborted) throw error
      return await this.#dialThrough(url, handlers, attempt)
    }
  }

  /** Once more where nothing has come over what was opened, and another transport may bring something. */
  async #dialThrough(url: string, handlers: DialledHandlers, attempt: Attempt): Promise<DialledLink> {
    try {
      return await this.#dialOnce(url, handlers, attempt)
    } catch (error) {
      if (!(error instanceof SilentLink) || attempt.signal.aborted) throw error
      return await this.#dialOnce(url, handlers, attempt)
    }
  }

  /** @throws {SilentLink} when the next dial of this address goes by another transport */
  async #dialOnce(url: string, handlers: DialledHandlers, { signal, asked }: Attempt): Promise<DialledLink> {
    const { dial, dialNear, clock, compression, reach, accept = {}, watch } = this.#options
    const hello = this.#options.hello()
    const { maxFrameBytes } = hello.limits
    const near = await dialNear?.(maxFrameBytes)
    const token = near === undefined ? await this.#askToken(signal) : ''
    const headers = { authorization: `Bearer ${token}` }
    const timeoutMs = DIAL_MS
    const options: DialOptions = { headers, timeoutMs, signal, maxFrameBytes, compression, reach }
    // A near way leads to no address in particular: no other would be reached sooner.
    if (near === undefined) asked()
    const transport = near ?? (await this.#open(dial, url, options, token))
    const isSilent = ({ code }: TunnelError): boolean => code === 'TIMEOUT' && transport.kind !== 'local'
    return new Promise((resolve, reject) => {
      let ready = false
      const abort = () => link.close()
      const link: Link = new Link({
        transport,
        dialler: true,
        hello,
        clock,
        traffic: watch?.traffic,
        handlers: {
          ...accept,
          rtt: (ms) => watch?.rtt(ms),
          ready: () => {
            ready = true
            signal.removeEventListener('abort', abort)
            resolve({ link, token })
          },
          goaway: (goaway) => handlers.goaway(link, goaway),
          closed: (error) => {
            signal.removeEventListener('abort', abort)
            if (ready) handlers.closed(link, error)
            else reject(isSilent(error) && dial.silent?.(url, options) ? new SilentLink(error) : error)
          },
        },
      })
      signal.addEventListener('abort', abort, { once: true })
      if (signal.aborted) abort()
    })
  }

  /**
   * A provider that never answers holds up no dial for longer than an address may. Dials at the same time ask one after
   * the other: each gets a token of its own, as one may be good for a single use.
   */
  #askToken(signal: AbortSignal): Promise<string> {
    const { clock, token } = this.#options
    const answer = this.#asking.then(() => askTokenWithin(token, { clock, ms: DIAL_MS, signal }, this.#ask))
    this.#asking = answer.catch(() => {})
    return answer
  }

  async #open(dial: Dial, url: string, options: DialOptions, token: string): Promise<Transport> {
    try {
      const transport = await dial(url, options)
      this.#ask = {}
      return transport
    } catch (error) {
      if (error instanceof TunnelError && error.category === 'authentication') this.#ask = { refused: token }
      throw error
    }
  }
}

/** The link was opened, and its listener's HELLO never came. */
class SilentLink extends TunnelError {
  constructor({ code, message }: TunnelError) {
    super(code, message, { hop: 'proxy' })
  }
}
