import { addressesOf } from '../dial/addresses.ts'
import { askPublicKey } from '../dial/api.ts'
import { isFinal } from '../dial/dialler.ts'
import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import type { Target } from '../protocol/codec/target.ts'
import { fetchBy } from '../protocol/node/http-client.ts'
import { ownAccount } from './account.ts'
import { authorizedKeysFile, authorizeKey } from './authorized-keys.ts'
import type { AgentLog, AgentOptions } from './options.ts'
import { isLoopback } from './source-address.ts'
import { sshSoftware } from './ssh-software.ts'

/**
 * That this process may change the file by which `sshUser` gets in at `ssh` (`--authorize`).
 * @throws {TunnelError} CONFIG_INVALID
 */
export function checkMayAuthorize(sshUser: string, ssh: Target): void {
  if (sshUser !== ownAccount().username) {
    const message = `--authorize: run the agent as ${sshUser}, whose file it is`
    throw new TunnelError('CONFIG_INVALID', message, { hop: 'agent' })
  }
  if (!isLoopback(ssh.host)) {
    const message = `--authorize is for this machine's own sshd at loopback, not for ${ssh.authority}: put the line that \`tunnel key --line\` prints into authorized_keys there, with its from="…" as that machine sees this one`
    throw new TunnelError('CONFIG_INVALID', message, { hop: 'agent' })
  }
}

/**
 * Lets the key in that the proxy has for this user. A proxy that does not tell it now is logged.
 * @throws {TunnelError} what asking again does not mend, such as a token that is refused, or a file that sshd would not trust
 */
export async function authorizeOwnKey(options: AgentOptions, ssh: Target, log: AgentLog): Promise<void> {
  const { urls, token, settings } = options
  let publicKey: string
  try {
    publicKey = await askPublicKey(addressesOf(urls), token, settings.request.timeoutMs, fetchBy(settings))
  } catch (failure) {
    const error = asTunnelError(failure, 'agent')
    if (isFinal(error)) throw failure
    // The machine is on line: that is worth more than the key.
    const text = `the proxy's key for you was not added: ${error.message}; run \`tunnel key --authorize\``
    return log('warn', text, { code: error.code })
  }
  const added = await authorizeKey(publicKey, { software: await sshSoftware(ssh) })
  log('info', `the key of your proxy ${added ? 'was added to' : 'is in'} ${authorizedKeysFile()}`)
}
