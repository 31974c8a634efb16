import { revokeOwnToken } from '../api.ts'
import { changeClientFile } from '../contexts/client-file.ts'
import type { Access } from '../credentials.ts'
import { warn } from '../warning.ts'
import { endAtIssuer } from './end-login.ts'
import { dropLogin, type KeptLogin, readLogin } from './kept-login.ts'

/** How long two files may take to be changed, each after 10 s of other programs' turns, in ms. */
const DROP_MS = 25_000
/** How long the proxy and the issuer may take to answer once nobody waits for them, in ms. */
const BRIEF_MS = 500

/** Which login is to end. */
export interface EndingOf {
  /** The configuration file. */
  path: string
  /** Of the context. */
  name: string
  access: Access
  /** Where the login is kept. */
  file: string
}

/** The end of one login. What it has begun here it does to its end, whatever stops it. */
export class Ending {
  readonly #of: EndingOf
  readonly #stop: AbortSignal
  readonly #login: KeptLogin
  #at: 'kept' | 'being dropped' | 'dropped' = 'kept'
  /** Whoever has not confirmed it yet. */
  readonly #unaware: Set<string>

  /** @throws {TunnelError} TOKEN_MISSING */
  constructor(of: EndingOf, stop: AbortSignal) {
    this.#of = of
    this.#stop = stop
    this.#login = readLogin(of.file)
    this.#unaware = new Set(['the proxy', this.#login.issuer])
  }

  /** How long it has to end once it is stopped, in ms. */
  get graceMs(): number {
    if (this.#at === 'kept') return 0
    return this.#at === 'dropped' ? BRIEF_MS : DROP_MS
  }

  /** What it leaves where it was stopped, for the person. */
  get left(): string {
    const { name } = this.#of
    if (this.#at === 'kept') return `${name} is still logged in`
    if (this.#unaware.size === 0) return `${name} is logged out`
    const unaware = this.notReached.join(' and ')
    return `${name} is logged out here, but ${unaware} may not have heard of it; ${this.#holds}`
  }

  /** Who was told of it and has not confirmed it. */
  get notReached(): string[] {
    return [...this.#unaware]
  }

  /** What that comes to. */
  get incomplete(): string {
    return `${this.notReached.join(' and ')} did not hear of it; ${this.#holds}`
  }

  get #holds(): string {
    return `the token holds there until ${new Date(this.#login.expiresAtMs).toISOString()}`
  }

  /** @throws {TunnelError} where a file cannot be changed, and the reason of the signal that stops it before */
  async run(): Promise<void> {
    const failure = await this.#drop()
    const { issuer, accessToken } = this.#login
    await Promise.all([
      this.#confirmed('the proxy', revokeOwnToken({ ...this.#of.access, token: accessToken })),
      this.#confirmed(issuer, endAtIssuer(this.#login)),
    ])
    if (failure === undefined) return
    if (this.#unaware.size > 0) warn('LOGOUT_INCOMPLETE', this.incomplete)
    throw failure
  }

  /** Here first: what fails after it leaves no token behind. @returns what has failed */
  async #drop(): Promise<unknown> {
    const { path, name, file } = this.#of
    const failures: unknown[] = []
    const failed = (error: unknown) => void failures.push(error)
    await changeClientFile(path, ({ contexts }) => {
      this.#stop.throwIfAborted()
      this.#at = 'being dropped'
      const { loginFile: _, ...kept } = contexts.get(name) ?? { urls: this.#of.access.urls }
      contexts.set(name, kept)
    }).catch(failed)
    if (this.#at === 'kept') this.#stop.throwIfAborted()
    // A configuration file that cannot be written keeps nobody logged in.
    this.#at = 'being dropped'
    await dropLogin(file).catch(failed)
    this.#at = 'dropped'
    return failures[0]
  }

  async #confirmed(who: string, work: Promise<unknown>): Promise<void> {
    await work.then(
      () => this.#unaware.delete(who),
      () => {},
    )
  }
}
