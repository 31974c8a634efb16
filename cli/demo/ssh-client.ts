import { dirname, join } from 'node:path'
import { findProgram } from '../find-program.ts'
import { selfCommand } from '../self.ts'
import type { DemoSshServer } from './ssh-server.ts'
import type { Stage } from './stage.ts'

/** What runs a command on the machine `home`, which is to be appended: OpenSSH's client where there is one. */
export function sshCommand(stage: Stage, server: DemoSshServer, embedded: boolean): string[] {
  const isEmbedded = embedded || findProgram('ssh') === undefined
  return isEmbedded ? embeddedSsh(server) : stockSsh(stage, server)
}

/** `tunnel ssh`, kept away from the person's own keys and known hosts. */
function stockSsh(stage: Stage, { keyFile, user }: DemoSshServer): string[] {
  const settings = [
    ...[
      `IdentityFile=${keyFile}`,
      'IdentitiesOnly=yes',
      'IdentityAgent=none',
      'BatchMode=yes',
      'LogLevel=ERROR',
    ],
    ...[`UserKnownHostsFile=${stage.path('known_hosts')}`, 'GlobalKnownHostsFile=/dev/null'],
    ...['StrictHostKeyChecking=accept-new', `User=${user}`],
  ]
  return [
    ...selfCommand(),
    'ssh',
    '-F',
    '/dev/null',
    ...settings.flatMap((setting) => ['-o', setting]),
    'home',
  ]
}

/** Where there is no OpenSSH client: ssh2's, over `tunnel stdio`. */
function embeddedSsh({ keyFile, user }: DemoSshServer): string[] {
  const self = selfCommand()
  const main = self.pop() ?? ''
  const program = join(dirname(main), 'demo', `embedded-ssh.${main.endsWith('.ts') ? 'ts' : 'js'}`)
  return [...self, program, keyFile, user, 'home']
}
