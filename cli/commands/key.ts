import { authorizedKeysFile, authorizedLineOf, authorizeKey } from '../../agent/authorized-keys.ts'
import { sshSoftware } from '../../agent/ssh-software.ts'
import type { Target } from '../../protocol/codec/target.ts'
import { askKey } from '../api.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { tell } from '../prose.ts'

/** Whose file is written: the SSH server of this machine. */
const OWN_SSHD: Target = { host: '127.0.0.1', port: 22, authority: '127.0.0.1:22' }

export const definition: Definition = {
  name: 'key',
  does: [
    'Prints the public SSH key with which the proxy logs in for you (request, exec). With --authorize it adds the',
    'key to ~/.ssh/authorized_keys on this machine, restricted to channels and terminals from loopback.',
  ].join(' '),
  examples: [
    'tunnel key',
    'tunnel key --authorize',
    'tunnel key --line | ssh me@elsewhere "cat >> .ssh/authorized_keys"',
  ],
  options: [
    { flags: '--authorize', does: 'let the key in on this machine, once' },
    { flags: '--line', does: 'print the line for authorized_keys, restricted as --authorize does it' },
  ],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const options = made.opts<CommonOptions & { authorize?: boolean; line?: boolean }>()
  if (options.line === true && (options.authorize === true || options.json === true))
    throw new UsageError('--line stands alone')
  const publicKey = await askKey(accessFrom(options))
  if (options.authorize !== true) {
    const text = options.line === true ? authorizedLineOf(publicKey) : publicKey
    process.stdout.write(options.json === true ? `${JSON.stringify({ publicKey })}\n` : `${text}\n`)
    return EXIT.ok
  }
  const software = await sshSoftware(OWN_SSHD)
  const added = await authorizeKey(publicKey, { software })
  const file = authorizedKeysFile()
  const text = added ? `the key was added to ${file}` : `the key was in ${file} already`
  if (options.json === true) process.stdout.write(`${JSON.stringify({ publicKey, added })}\n`)
  else tell(`${text}\n`)
  return EXIT.ok
}
