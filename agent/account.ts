import { type UserInfo, userInfo } from 'node:os'
import { TunnelError } from '../protocol/codec/errors.ts'

/**
 * The account that this process runs under.
 * @throws {TunnelError} CONFIG_INVALID where its number has none, as in a container
 */
export function ownAccount(): UserInfo<string> {
  try {
    return userInfo()
  } catch (cause) {
    const message = `the user id ${process.getuid?.()} has no account on this machine`
    const suggestion =
      'run it as a user with an account; an agent can also be told with --user whom the proxy logs in as'
    throw new TunnelError('CONFIG_INVALID', message, { hop: 'agent', suggestion, cause })
  }
}
