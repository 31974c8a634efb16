import type { Hello } from '../../protocol/codec/hello.ts'
import type { LinkHandlers } from '../../protocol/link/handlers.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { LinkContext } from '../forward/index.ts'

/** One accepted link and whose it is; `user` is renewed by AUTH. */
export interface AcceptedLink {
  readonly link: Link
  readonly context: LinkContext
  /**
   * Resolves when its peer has said HELLO and nothing refuses it, and a fresh token that came before has been checked;
   * until then it may open nothing.
   */
  admitted: Promise<void>
}

export interface RoleHandler {
  /** The link takes its place. An error refuses it. */
  accepted(accepted: AcceptedLink): void
  /** Its peer has said who it is. An error refuses the link. */
  ready?(accepted: AcceptedLink, peer: Hello): Promise<void>
  open?: (accepted: AcceptedLink, open: Parameters<NonNullable<LinkHandlers['open']>>[0]) => void
  resume?: (accepted: AcceptedLink, resume: Parameters<NonNullable<LinkHandlers['resume']>>[0]) => void
  /** Once, whether or not it was ever ready. */
  closed(accepted: AcceptedLink): void
}
