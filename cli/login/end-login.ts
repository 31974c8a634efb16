import { claimIn } from '../../dial/token.ts'
import { warn } from '../warning.ts'
import type { KeptLogin } from './kept-login.ts'

/** Ends a login at its issuer. @throws what `revokeAtIssuer` throws */
export async function endAtIssuer(login: KeptLogin): Promise<void> {
  const { revokeAtIssuer } = await import('./issuer.ts')
  await revokeAtIssuer(login, login.refreshToken ?? login.accessToken)
}

/** The same where nobody waits for it: of one that cannot be ended the person is told */
export async function endOrWarn(login: KeptLogin, what: 'new' | 'earlier', why: string): Promise<void> {
  await endAtIssuer(login).catch(({ message }: Error) => {
    const failed = `${why}, and ${login.issuer} could not be told to revoke the ${what} token`
    warn('REVOCATION_FAILED', `${failed} (${message}): end that session at the issuer`)
  })
}

/**
 * Whether a login that was replaced is to be ended: where it was another user's at the same issuer. One of the same user
 * goes on there: issuers have one grant for a user and a program, or for all that is confirmed in one browser, and
 * revoking a refresh token ends its grant (RFC 7009, section 2.1), which would be the new login's too.
 */
export function isOver(before: KeptLogin | undefined, login: KeptLogin): before is KeptLogin {
  if (before?.refreshToken === undefined || before.issuer !== login.issuer) return false
  const [earlier, now] = [before, login].map(({ accessToken }) => claimIn(accessToken, 'sub'))
  return typeof earlier === 'string' && typeof now === 'string' && earlier !== now
}

/** Ends what `login` has replaced, where that is to be ended. */
export async function endReplaced(before: KeptLogin | undefined, login: KeptLogin): Promise<void> {
  if (isOver(before, login))
    await endOrWarn(before, 'earlier', 'this login takes the place of one of another user')
}
