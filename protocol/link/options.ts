import type { Clock } from '../clock.ts'
import type { LinkTrust } from '../codec/heads.ts'
import type { Hello } from '../codec/hello.ts'
import type { LinkHandlers } from './handlers.ts'
import type { Traffic } from './traffic.ts'
import type { Transport } from './transport.ts'
import type { Work } from './work-meter.ts'

export interface LinkOptions {
  transport: Transport
  /** Whether we dialled: the dialler speaks first and has the odd numbers. */
  dialler: boolean
  hello: Hello
  handlers: LinkHandlers
  clock?: Clock
  /**
   * Whether what the peer's OPEN and RESUME vouch for is believed. @default 'replica' for the dialler, which has
   * chosen its proxy; 'user' for the listener
   */
  trust?: LinkTrust
  /** Who counts what the peer causes; one for all links of a user. @default nobody: a peer that is trusted */
  work?: Work
  /** Where this link counts its bytes. @default nowhere */
  traffic?: Traffic | undefined
}
