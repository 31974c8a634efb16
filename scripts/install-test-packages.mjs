// Installs the system programs that tests, demo and benchmarks drive, where that is possible: as root, with apt-get.
// With --firsthour also those that `npm run firsthour` drives and no test does.
// Anywhere else it names what is missing, and the tests that need it are skipped with the same words.
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { installNewerOpenSsh } from './install-newer-openssh.mjs'

/** Program → Debian package. */
const PROGRAMS = {
  sshd: 'openssh-server',
  'ssh-keygen': 'openssh-client',
  ssh: 'openssh-client',
  scp: 'openssh-client',
  sftp: 'openssh-client',
  rsync: 'rsync',
  git: 'git',
  ip: 'iproute2',
  ps: 'procps',
  'redis-server': 'redis-server',
  'redis-cli': 'redis-tools',
  zsh: 'zsh',
  fish: 'fish',
  curl: 'curl',
  openssl: 'openssl',
  nginx: 'nginx-light',
  caddy: 'caddy',
  haproxy: 'haproxy',
  tinyproxy: 'tinyproxy-bin',
  chromium: 'chromium',
  kubectl: 'kubernetes-client',
  promtool: 'prometheus',
  amtool: 'prometheus-alertmanager',
  ...(process.argv.includes('--firsthour') && {
    ansible: 'ansible-core',
    autossh: 'autossh',
    borg: 'borgbackup',
    dbclient: 'dropbear-bin',
    lftp: 'lftp',
    plink: 'putty-tools',
    psql: 'postgresql',
    'python3-asyncssh': 'python3-asyncssh',
    'python3-paramiko': 'python3-paramiko',
    rclone: 'rclone',
    'redis-server': 'redis',
    restic: 'restic',
    sshfs: 'sshfs',
    tmux: 'tmux',
    vim: 'vim',
    xauth: 'xauth',
    xdpyinfo: 'x11-utils',
    Xvfb: 'xvfb',
  }),
}
/** What is no program, and where it is. */
const FILES = {
  'python3-asyncssh': '/usr/lib/python3/dist-packages/asyncssh',
  'python3-paramiko': '/usr/lib/python3/dist-packages/paramiko',
}

/** Debian package → the units that it starts. */
const SERVICES = {
  'openssh-server': ['ssh.service', 'ssh.socket'],
  'nginx-light': ['nginx.service'],
  caddy: ['caddy.service'],
  haproxy: ['haproxy.service'],
  prometheus: ['prometheus.service'],
  'prometheus-alertmanager': ['prometheus-alertmanager.service'],
  postgresql: ['postgresql.service'],
  redis: ['redis-server.service'],
}

// A user's PATH often lacks the sbin folders, where sshd and ip live.
const folders = [...new Set([...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'])].filter(
  Boolean,
)

function isThere(program) {
  if (program in FILES) return existsSync(FILES[program])
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function missingPrograms() {
  return Object.keys(PROGRAMS).filter((program) => !isThere(program))
}

function apt(...args) {
  const result = spawnSync('apt-get', args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    // RUNLEVEL=1 makes the package's invoke-rc.d leave its service stopped: tests start their own sshd.
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
  })
  if (result.status !== 0) process.stderr.write(`apt-get ${args.join(' ')} failed:\n${result.stderr ?? ''}\n`)
  return result.status === 0
}

const missing = missingPrograms()
if (missing.length > 0) {
  const packages = [...new Set(missing.map((program) => PROGRAMS[program]))]
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    console.log(`installing for the tests: ${packages.join(' ')}`)
    apt('update', '-qq') &&
      apt('install', '-y', '-qq', '--no-install-recommends', '-o', 'Dpkg::Use-Pty=0', ...packages)
    // Where systemd runs it may have started a new package's service all the same; nobody asked for one.
    const units = packages.flatMap((name) => SERVICES[name] ?? [])
    if (units.length > 0 && existsSync('/run/systemd/system'))
      spawnSync('systemctl', ['disable', '--now', ...units], { stdio: 'ignore' })
  }
  const still = missingPrograms()
  if (still.length > 0) {
    const names = [...new Set(still.map((program) => PROGRAMS[program]))].join(' ')
    console.log(`missing: ${still.join(', ')}; tests that need them are skipped (apt-get install ${names})`)
  }
}
installNewerOpenSsh()
