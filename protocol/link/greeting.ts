import type { Clock } from '../clock.ts'
import { asTunnelError, TunnelError } from '../codec/errors.ts'
import type { Hello } from '../codec/hello.ts'

export interface GreetingOptions {
  clock: Clock
  dialler: boolean
  /** Sends our HELLO. */
  greet(): void
  /** The peer has said HELLO. A listener's promise admits it. */
  ready(peer: Hello): void | Promise<void>
  /** Stops reading, and goes on. */
  hold(): void
  unhold(): void
  /** Both have said HELLO: streams may send. */
  open(): void
  fail(error: TunnelError): void
}

/** How long a peer has for its HELLO, in ms. */
const HELLO_MS = 10_000

/** The first frame each way: the dialler's at once, the listener's when it has admitted the dialler. */
export class Greeting {
  readonly #options: GreetingOptions
  readonly #timer: unknown
  #peer: Hello | undefined

  constructor(options: GreetingOptions) {
    this.#options = options
    const { clock, dialler, fail, greet } = options
    this.#timer = clock.setTimer(() => {
      fail(new TunnelError('TIMEOUT', `no HELLO came within ${HELLO_MS / 1_000} s`, { hop: 'link' }))
    }, HELLO_MS)
    if (dialler) greet()
  }

  get peer(): Hello | undefined {
    return this.#peer
  }

  stop(): void {
    this.#options.clock.clearTimer(this.#timer)
  }

  /** @throws {TunnelError} FRAME_INVALID */
  receive(hello: Hello): void {
    if (this.#peer !== undefined) throw new TunnelError('FRAME_INVALID', 'a second HELLO', { hop: 'link' })
    this.stop()
    this.#peer = hello
    const { ready, hold, unhold, fail } = this.#options
    const admission = ready(hello)
    if (admission === undefined) return this.#welcome()
    hold()
    admission.then(
      () => {
        unhold()
        this.#welcome()
      },
      (error: unknown) => fail(asTunnelError(error, 'link')),
    )
  }

  #welcome(): void {
    const { dialler, greet, open } = this.#options
    if (!dialler) greet()
    open()
  }
}
