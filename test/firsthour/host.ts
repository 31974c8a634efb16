import { mkdir } from 'node:fs/promises'
import { type NetworkNamespace, whyNoNamespaces } from '../chaos/netns.ts'
import { Program, type ProgramOptions, run } from '../support/process.ts'
import type { Scope } from '../support/scope.ts'
import { findProgram, requireSystem } from '../support/system.ts'

export type User = 'root' | 'alice'

/** Above what a system has of its own. */
const ALICE = 61_001
const PATH = '/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
/** Stands for the authorities that a system trusts. */
export const AUTHORITY = '/etc/ssl/tunnel-test-authority.pem'

/**
 * Makes a clean host of a mount namespace: empty home folders, an account alice, and changes to /etc, /var and /run that
 * nobody else sees. The package is in /opt/tunnel, as after a global installation.
 */
const SET_UP = `
set -e
stage=$1 package=$2 node=$3 name=$4 hosts=$5
mount -t tmpfs tmpfs "$stage"
cd "$stage"
mkdir -p opt/bin opt/tunnel home/alice root run etc etc.work var var.work
# By what stands behind a link, which may be somewhere that the host does not see.
for each in package.json dist node_modules; do
  real=$(realpath -e "$package/$each")
  if [ -d "$real" ]; then mkdir opt/tunnel/$each; else touch opt/tunnel/$each; fi
  mount --bind "$real" opt/tunnel/$each
done
touch opt/bin/node
mount --bind "$node" opt/bin/node
ln -s ../tunnel/dist/cli/main.cjs opt/bin/tunnel
for each in etc var; do
  mount -t overlay overlay -o "lowerdir=/$each,upperdir=$stage/$each,workdir=$stage/$each.work" "/$each"
done
for each in home root run; do mount --bind "$each" "/$each"; done
mount --rbind opt /opt
# As udev sets it up; containers leave it to root.
if [ -e /dev/fuse ] && mknod -m 666 fuse c 10 229; then mount --bind fuse /dev/fuse; fi
mount -t tmpfs -o mode=1777 tmpfs /tmp
chmod 700 /root
mkdir -p /run/sshd /run/systemd/system
echo 'alice:x:${ALICE}:${ALICE}::/home/alice:/bin/bash' >> /etc/passwd
echo 'alice:x:${ALICE}:' >> /etc/group
echo 'alice:*:20000::::::' >> /etc/shadow
chown ${ALICE}:${ALICE} /home/alice
chmod 700 /home/alice
printf '127.0.0.1 localhost\\n::1 localhost\\n%b' "$hosts" > /etc/hosts
hostname "$name"
echo ready
exec sleep infinity
`

/** What a host is made with; the kernel may keep any of it from a container. */
const TRIAL = `
mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work &&
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc && hostname trial
`

/** Why hosts cannot be made here, or undefined when they can. */
export async function whyNoHosts(): Promise<string | undefined> {
  const missing = requireSystem('ssh', 'sshd', 'nsenter', 'unshare', 'setpriv', 'hostname', 'openssl', 'curl')
  const reason = missing ?? (await whyNoNamespaces())
  if (reason !== undefined) return reason
  const { code, stderr } = await run('unshare', ['--mount', '--uts', 'sh', '-c', TRIAL])
  return code === 0 ? undefined : `mount namespaces are not allowed here: ${stderr.trim()}`
}

export interface HostOptions {
  name: string
  network: NetworkNamespace
  /** An empty folder that nothing else uses. */
  stage: string
  /** Where the package is, installed or built. */
  packageFolder: string
  /** Lines for /etc/hosts. */
  hosts: readonly string[]
}

export type Said = Awaited<ReturnType<typeof run>>

/** A computer of its own, as far as programs can tell: network, accounts, homes, /etc, /var and /tmp. */
export class Host {
  readonly name: string
  readonly network: NetworkNamespace
  readonly #pid: number

  static async start(scope: Scope, options: HostOptions): Promise<Host> {
    const { name, network, stage, packageFolder, hosts } = options
    await mkdir(stage)
    const words = ['--mount', '--uts', 'bash', '-c', SET_UP, 'set-up', stage, packageFolder, process.execPath]
    const [command, args] = network.wrap('unshare', [
      ...words,
      name,
      hosts.map((line) => `${line}\\n`).join(''),
    ])
    const first = new Program(command, args)
    scope.after(() => first.kill('SIGKILL'))
    await first.line('ready')
    return new Host(name, network, first.pid)
  }

  private constructor(name: string, network: NetworkNamespace, pid: number) {
    this.name = name
    this.network = network
    this.#pid = pid
  }

  /** The command line that runs a line of shell here, in the home folder of `user`. */
  #words(user: User, line: string): [string, string[]] {
    const home = user === 'root' ? '/root' : `/home/${user}`
    const id = String(user === 'root' ? 0 : ALICE)
    const env = [`HOME=${home}`, `USER=${user}`, `LOGNAME=${user}`, 'SHELL=/bin/bash', `PATH=${PATH}`]
    const more = ['LANG=C.UTF-8', 'TERM=xterm', `NODE_EXTRA_CA_CERTS=${AUTHORITY}`]
    return [
      findProgram('nsenter') ?? 'nsenter',
      [
        ...[
          '-t',
          String(this.#pid),
          '-m',
          '-n',
          '-u',
          'setpriv',
          '--reuid',
          id,
          '--regid',
          id,
          '--init-groups',
        ],
        ...['env', '-i', `--chdir=${home}`, ...env, ...more, 'bash', '-c', line],
      ],
    ]
  }

  /** Runs a line of shell to its end. */
  run(user: User, line: string, options: Parameters<typeof run>[2] = {}): Promise<Said> {
    return run(...this.#words(user, line), options)
  }

  /** The same, and throws with what was said when it failed. */
  async must(user: User, line: string, options: Parameters<typeof run>[2] = {}): Promise<string> {
    const { code, signal, stdout, stderr } = await this.run(user, line, options)
    if (code === 0) return stdout
    throw new Error(`${this.name}: ${line}: ${signal ?? `status ${code}`}\n${stdout}${stderr}`)
  }

  /** Starts a line of shell that keeps running, until the host goes with its network. */
  start(user: User, line: string, options: ProgramOptions = {}): Program {
    // In the shell's place, so that what is stopped is the program.
    return new Program(...this.#words(user, /[;|&\n]/.test(line) ? line : `exec env ${line}`), options)
  }

  /** Writes a file, and its folder where there is none. */
  async write(user: User, path: string, content: string, mode = '644'): Promise<void> {
    await this.must(user, `mkdir -p "$(dirname ${path})" && cat > ${path} && chmod ${mode} ${path}`, {
      input: content,
    })
  }
}
