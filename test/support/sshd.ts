import { spawnSync } from 'node:child_process'
import { appendFile, chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { ended, killTree } from './proc.ts'
import { mustRun, Program } from './process.ts'
import type { Scope } from './scope.ts'
import { findProgram, freePort } from './system.ts'
import { tempFolder } from './tree.ts'

export { requireSystem } from './system.ts'

export interface Sshd {
  readonly pid: number
  readonly host: '127.0.0.1'
  readonly port: number
  /** The only user who can log in: whoever runs the tests. */
  readonly user: string
  /** Public host keys, each `ssh-ed25519 AAAA…`. */
  readonly hostKeys: string[]
  /** Private key that `authorizedKeysFile` lets in. */
  readonly clientKeyFile: string
  readonly clientPublicKey: string
  readonly authorizedKeysFile: string
  /** Knows the host keys under `HOST_KEY_ALIAS` and under the address itself. */
  readonly knownHostsFile: string
  /** What sshd wrote to its log so far. */
  readonly stderr: string
  /** Lets another public key in, from the next login on. */
  authorize(publicKeyLine: string): Promise<void>
  /** Ends sshd, its sessions, and their commands. */
  close(): Promise<void>
}

/** The name under which `knownHostsFile` knows this sshd, however it is reached. */
const HOST_KEY_ALIAS = 'tunnel-test'
const HOST_KEY_TYPES = ['ed25519', 'ecdsa'] as const

export interface SshdOptions {
  /** More lines of sshd_config; an earlier line wins in sshd, so these come first. */
  config?: string[]
  /** @default the system's */
  program?: SshdProgram | undefined
}

export interface SshdProgram {
  path: string
  /** Lines of sshd_config that it needs where it was not installed in its place. */
  config: string[]
}

/** Where scripts/install-test-packages.mjs puts an OpenSSH that is newer than the system's. */
const NEWER = '/opt/tunnel-tests/openssh/usr'

/** An sshd that punishes addresses (PerSourcePenalties): OpenSSH 9.8 or newer; undefined where there is none. */
export function penalisingSshd(): SshdProgram | undefined {
  const helpers = ['Session', 'Auth'].map(
    (name) => `Sshd${name}Path ${NEWER}/lib/openssh/sshd-${name.toLowerCase()}`,
  )
  const programs = [
    { path: findProgram('sshd') ?? '', config: [] },
    { path: `${NEWER}/sbin/sshd`, config: helpers },
  ]
  return programs.find(({ path }) => {
    const { stdout = '', stderr = '' } = spawnSync(path, ['-V'], { encoding: 'utf8' })
    const [, major, minor] = /OpenSSH_(\d+)\.(\d+)/.exec(`${stdout}${stderr}`) ?? []
    return Number(major) * 100 + Number(minor) >= 908
  })
}

/** Starts OpenSSH's own sshd on loopback, with keys and files of its own. It goes with `scope`. */
export async function startSshd(scope: Scope, options: SshdOptions = {}): Promise<Sshd> {
  const program = options.program?.path ?? findProgram('sshd')
  if (program === undefined) throw new Error('sshd is not installed (node scripts/install-test-packages.mjs)')
  const folder = await tempFolder(scope, 'sshd')
  const file = (name: string) => join(folder, name)
  const newKey = (name: string, type: string) =>
    mustRun('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', name, '-f', file(name)])
  await Promise.all([
    newKey('client', 'ed25519'),
    ...HOST_KEY_TYPES.map((type) => newKey(`host-${type}`, type)),
  ])
  const clientPublicKey = (await readFile(file('client.pub'), 'utf8')).trim()
  const hostKeys = await Promise.all(
    HOST_KEY_TYPES.map(async (type) => {
      const [algorithm, key] = (await readFile(file(`host-${type}.pub`), 'utf8')).split(' ')
      return `${algorithm} ${key}`
    }),
  )
  await writeFile(file('authorized_keys'), `${clientPublicKey}\n`, { mode: 0o600 })
  const user = userInfo().username
  if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 })

  const { listening, port } = await listen(program, file('sshd_config'), async (port) => [
    ...(options.config ?? []),
    ...(options.program?.config ?? []),
    ...[`ListenAddress 127.0.0.1:${port}`, 'PidFile none', 'LogLevel INFO'],
    ...HOST_KEY_TYPES.map((type) => `HostKey ${file(`host-${type}`)}`),
    `AuthorizedKeysFile ${file('authorized_keys')}`,
    ...['StrictModes no', `UsePAM ${(await isLocked(user)) ? 'yes' : 'no'}`, `AllowUsers ${user}`],
    ...['PermitRootLogin prohibit-password', 'PasswordAuthentication no', 'KbdInteractiveAuthentication no'],
    ...['MaxSessions 1000', 'MaxAuthTries 20', 'LoginGraceTime 60', 'UseDNS no'],
    // Of this one the last line wins.
    ...(options.config?.some((line) => line.startsWith('MaxStartups ')) ? [] : ['MaxStartups 1000']),
    ...['PrintMotd no', 'PrintLastLog no', 'AcceptEnv *', 'Subsystem sftp internal-sftp'],
    // Else every command begins with the person's own start-up files; one that is killed in their midst may leave locks.
    `SetEnv HOME=${folder}`,
  ])
  const knownHosts = hostKeys.map((key) => `${HOST_KEY_ALIAS},[127.0.0.1]:${port} ${key}\n`).join('')
  await writeFile(file('known_hosts'), knownHosts)
  await chmod(file('client'), 0o600)

  const close = async () => {
    // Commands of sessions are in process groups of their own and would outlive their sshd.
    const tree = listening.running ? killTree(listening.pid) : []
    await listening.exit
    await ended(tree)
  }
  scope.after(close)
  return {
    pid: listening.pid,
    host: '127.0.0.1',
    port,
    user,
    hostKeys,
    clientKeyFile: file('client'),
    clientPublicKey,
    authorizedKeysFile: file('authorized_keys'),
    knownHostsFile: file('known_hosts'),
    get stderr() {
      return listening.stderr
    },
    authorize: (publicKeyLine) => appendFile(file('authorized_keys'), `${publicKeyLine.trim()}\n`),
    close,
  }
}

/** sshd cannot take port 0, so a port that was free may be gone when sshd wants it. */
async function listen(program: string, configFile: string, config: (port: number) => Promise<string[]>) {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort()
    await writeFile(configFile, `${(await config(port)).join('\n')}\n`)
    const listening = new Program(program, ['-D', '-e', '-f', configFile])
    try {
      await listening.line(/Server listening on/, 'stderr')
      return { listening, port }
    } catch (error) {
      await listening.stop()
      if (attempt === 5 || !/Address already in use/.test(listening.stderr)) throw error
    }
  }
}

/** Without PAM, sshd refuses an account whose password is locked, also to those who have a key. */
async function isLocked(user: string): Promise<boolean> {
  const shadow = await readFile('/etc/shadow', 'utf8').catch(() => '')
  return shadow.split('\n').some((line) => line.startsWith(`${user}:!`))
}

export interface SshOptions {
  /** How to reach it; without one, straight to the sshd's own port. */
  proxyCommand?: string
  /** Another private key than the one that is authorised from the start. */
  identityFile?: string
  /** More `-o` settings, as `Name=value`. */
  set?: string[]
}

/** Options that make ssh, scp and sftp use this sshd's keys and nothing of the person's own configuration. */
export function sshOptions(sshd: Sshd, options: SshOptions = {}): string[] {
  const settings = [
    ...(options.set ?? []),
    ...[
      `IdentityFile=${options.identityFile ?? sshd.clientKeyFile}`,
      'IdentitiesOnly=yes',
      'IdentityAgent=none',
      'BatchMode=yes',
    ],
    ...[`UserKnownHostsFile=${sshd.knownHostsFile}`, 'GlobalKnownHostsFile=/dev/null'],
    ...['StrictHostKeyChecking=yes', `HostKeyAlias=${HOST_KEY_ALIAS}`, 'UpdateHostKeys=no', 'LogLevel=ERROR'],
    ...[`User=${sshd.user}`, `Hostname=${sshd.host}`, `Port=${sshd.port}`],
    ...(options.proxyCommand === undefined ? [] : [`ProxyCommand=${options.proxyCommand}`]),
  ]
  return ['-F', '/dev/null', ...settings.flatMap((setting) => ['-o', setting])]
}

/** Words as one line for a shell: for `rsync -e`, `GIT_SSH_COMMAND` and `ProxyCommand`. */
export function shellLine(words: readonly string[]): string {
  return words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(' ')
}
