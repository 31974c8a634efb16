import type { LoginPlace } from '../../dial/login.ts'
import { askLoginPlace, askMachines } from '../api.ts'
import { changeClientFile } from '../contexts/client-file.ts'
import { dropToken, keptLogin } from '../contexts/keep-token.ts'
import type { Access } from '../credentials.ts'
import { unlessStopped } from '../stop.ts'
import { endReplaced, isOver } from './end-login.ts'
import { type IssuedTokens, logIn } from './issuer.ts'
import { type KeptLogin, keepLogin } from './kept-login.ts'
import type { Prompt } from './prompt.ts'

/** How long two files may take to be written, each after 10 s of other programs' turns, and one of them back, in ms. */
const KEEP_MS = 35_000
/** How long the issuer may take to end an earlier login once this one is stopped, in ms. */
const BRIEF_MS = 500

/** Where a login is kept. */
export interface Keeping {
  /** The configuration file. */
  path: string
  /** Of the context. */
  name: string
}

/** One login, which may be stopped at any time: what was kept before holds until all of the new one is kept. */
export class Attempt {
  readonly file: string
  readonly #access: Access
  readonly #keeping: Keeping
  readonly #stop: AbortSignal
  #at: 'nothing is kept' | 'being kept' | 'kept' = 'nothing is kept'
  /** The issuer, while it is told of a login that this one replaces. */
  #toldOfEarlier: string | undefined

  constructor(access: Access, keeping: Keeping, stop: AbortSignal) {
    this.#access = access
    this.#keeping = keeping
    this.#stop = stop
    this.file = keptLogin(keeping.path, keeping.name)
  }

  /** How long it has to end once it is stopped, in ms. */
  get graceMs(): number {
    if (this.#at === 'nothing is kept') return 0
    return this.#at === 'kept' ? BRIEF_MS : KEEP_MS
  }

  /** What it leaves where it was stopped, for the person. */
  get left(): string {
    if (this.#at !== 'kept') return 'nothing of this login was kept'
    const kept = `the login is kept, and ${this.#keeping.name} is used now`
    if (this.#toldOfEarlier === undefined) return kept
    const earlier = `${this.#toldOfEarlier} may not have revoked the earlier token, another user's`
    return `${kept}, but ${earlier}: end that session at the issuer`
  }

  /** @throws {TunnelError}, and the reason of the signal that stops it */
  async run(prompted: (prompt: Prompt) => void): Promise<KeptLogin> {
    const place = await unlessStopped(askLoginPlace(this.#access), this.#stop)
    const tokens = await unlessStopped(logIn(place, prompted), this.#stop)
    // What the proxy does not take is not kept.
    await unlessStopped(askMachines({ ...this.#access, token: tokens.accessToken }), this.#stop)
    return this.#keep(place, tokens)
  }

  async #keep(place: LoginPlace, tokens: IssuedTokens): Promise<KeptLogin> {
    const { path, name } = this.#keeping
    const login: KeptLogin = { ...place, ...tokens }
    const { before, undo } = await keepLogin(this.file, login, () => {
      this.#stop.throwIfAborted()
      this.#at = 'being kept'
    })
    try {
      await changeClientFile(path, (configured) => {
        const { tokenFile: _file, tokenCommand: _command, ...known } = configured.contexts.get(name) ?? {}
        configured.contexts.set(name, { ...known, urls: this.#access.urls, loginFile: this.file })
        configured.current = name
      })
    } catch (error) {
      await undo()
      this.#at = 'nothing is kept'
      throw error
    }
    this.#at = 'kept'
    // No context names it any more.
    dropToken(path, name)
    if (isOver(before, login)) this.#toldOfEarlier = login.issuer
    await endReplaced(before, login)
    this.#toldOfEarlier = undefined
    return login
  }
}
