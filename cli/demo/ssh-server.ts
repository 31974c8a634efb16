import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { userInfo } from 'node:os'
import ssh2 from 'ssh2'
import { newKeyPair, startSshServer as startEmbedded } from '../../testing/ssh-server.ts'
import { findProgram } from '../find-program.ts'
import { lineOf, STEP_MS, type Stage } from './stage.ts'

export interface DemoSshServer {
  port: number
  kind: string
  user: string
  /** Private key that it lets in. */
  keyFile: string
  authorizedKeysFile: string
}

/** Below what systems give to connections that go out: one of these could have it by the time the listener is there. */
const PORTS = { first: 20_000, count: 12_000 }
const PORT_ATTEMPTS = 20

/** A port that was free a moment ago, for a listener that must come back at the same one. */
export async function freePort(): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const port = randomInt(PORTS.first, PORTS.first + PORTS.count)
    const server = createServer()
    try {
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
    } catch (error) {
      if (attempt < PORT_ATTEMPTS) continue
      throw error
    }
    server.close()
    await once(server, 'close')
    return port
  }
}

/** OpenSSH's own sshd where it is installed and lets us in, else the server of ssh2; with keys of its own. */
export async function startSshServer(stage: Stage, embedded: boolean): Promise<DemoSshServer> {
  const hostKey = newKeyPair('demo host key')
  const userKey = newKeyPair('demo user key')
  const keyFile = stage.path('id_demo')
  const authorizedKeysFile = stage.path('authorized_keys')
  writeFileSync(keyFile, userKey.private, { mode: 0o600 })
  writeFileSync(stage.path('host_key'), hostKey.private, { mode: 0o600 })
  writeFileSync(authorizedKeysFile, `${userKey.public}\n`, { mode: 0o600 })
  const user = userInfo().username
  const server = { user, keyFile, authorizedKeysFile }
  const program = embedded ? undefined : findProgram('sshd')
  if (program !== undefined) {
    const port = await startOpenSsh(stage, program).catch(() => undefined)
    if (port !== undefined) return { ...server, port, kind: 'OpenSSH' }
  }
  const embeddedServer = await startEmbedded({
    hostKey: hostKey.private,
    user,
    authorizedKeys: () => readFileSync(authorizedKeysFile, 'utf8'),
  })
  stage.onClose(() => embeddedServer.close())
  return { ...server, port: embeddedServer.port, kind: "ssh2's embedded server" }
}

/** Throws where sshd does not run, or runs and does not let us in (a locked account, a nologin shell). */
async function startOpenSsh(stage: Stage, program: string): Promise<number> {
  const user = userInfo().username
  if (process.getuid?.() === 0 && !existsSync('/run/sshd')) {
    mkdirSync('/run/sshd', { mode: 0o755 })
    stage.onClose(() => rmdirSync('/run/sshd'))
  }
  const port = await freePort()
  const config = [
    `ListenAddress 127.0.0.1:${port}`,
    `HostKey ${stage.path('host_key')}`,
    `AuthorizedKeysFile ${stage.path('authorized_keys')}`,
    `AllowUsers ${user}`,
    // Without PAM, sshd refuses an account whose password is locked, also to those who have a key.
    `UsePAM ${isLocked(user) ? 'yes' : 'no'}`,
    ...[
      'PidFile none',
      'StrictModes no',
      'PermitRootLogin prohibit-password',
      'PrintMotd no',
      'PrintLastLog no',
    ],
    // Nothing of the person's own runs with each command, or is left half done when one is cut.
    `SetEnv HOME=${stage.path('.')}`,
    ...['PasswordAuthentication no', 'KbdInteractiveAuthentication no', 'UseDNS no', 'MaxStartups 100'],
  ]
  writeFileSync(stage.path('sshd_config'), `${config.join('\n')}\n`)
  const child = stage.spawn(program, ['-D', '-e', '-f', stage.path('sshd_config')])
  await lineOf(child, /Server listening on/, 'sshd')
  await probe(port, user, readFileSync(stage.path('id_demo'), 'utf8'))
  return port
}

function isLocked(user: string): boolean {
  try {
    return readFileSync('/etc/shadow', 'utf8')
      .split('\n')
      .some((line) => line.startsWith(`${user}:!`))
  } catch {
    return false
  }
}

/** One real login and command, straight to the server. */
function probe(port: number, username: string, privateKey: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const client = new ssh2.Client()
    const over = (error?: unknown): void => {
      client.end()
      if (error === undefined) resolve()
      else reject(error)
    }
    client.on('error', over)
    client.on('ready', () => {
      client.exec('exit 7', (error, channel) => {
        if (error !== undefined) return over(error)
        channel.on('exit', (status: number | null) => over(status === 7 ? undefined : new Error('no shell')))
        channel.resume()
      })
    })
    client.connect({ host: '127.0.0.1', port, username, privateKey, readyTimeout: STEP_MS / 5 })
  })
}
