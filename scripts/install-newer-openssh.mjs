// An sshd of 9.8 or newer beside the system's older one, for the tests of what it does to addresses: unpacked from Debian's
// backports into a folder of its own, so that nothing of the system changes.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const FOLDER = '/opt/tunnel-tests/openssh'
const KEYS = '/usr/share/keyrings/debian-archive-keyring.gpg'
/** The release whose own sshd is older, and whose backports have a newer one. */
const RELEASE = 'bookworm'

function run(program, args, options = {}) {
  return spawnSync(program, args, { stdio: 'ignore', ...options }).status === 0
}

/** Answers whether it is there afterwards. */
export function installNewerOpenSsh() {
  if (existsSync(FOLDER)) return true
  const system = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : ''
  const isPossible = process.getuid?.() === 0 && existsSync(KEYS) && system.includes(`=${RELEASE}`)
  if (!isPossible) return false
  const work = mkdtempSync(join(tmpdir(), 'openssh-'))
  try {
    for (const name of ['lists/partial', 'cache/archives/partial', 'debs', 'root'])
      mkdirSync(join(work, name), { recursive: true })
    const source = `deb [signed-by=${KEYS}] http://deb.debian.org/debian ${RELEASE}-backports main\n`
    writeFileSync(join(work, 'sources.list'), source)
    const places = [
      `Dir::Etc::SourceList "${work}/sources.list";`,
      'Dir::Etc::SourceParts "/dev/null";',
      `Dir::State::Lists "${work}/lists";`,
      `Dir::Cache "${work}/cache";`,
    ]
    writeFileSync(join(work, 'apt.conf'), places.join('\n'))
    const env = { ...process.env, APT_CONFIG: join(work, 'apt.conf') }
    const cwd = join(work, 'debs')
    const isFetched =
      run('apt-get', ['update', '-qq'], { env }) &&
      run('apt-get', ['download', '-qq', `openssh-server/${RELEASE}-backports`], { env, cwd })
    const [file] = readdirSync(cwd)
    if (!isFetched || file === undefined || !run('dpkg-deb', ['-x', join(cwd, file), join(work, 'root')]))
      return false
    mkdirSync('/opt/tunnel-tests', { recursive: true })
    // Across file systems, and whole or not at all.
    return run('cp', ['-r', join(work, 'root'), `${FOLDER}.new`]) && run('mv', [`${FOLDER}.new`, FOLDER])
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}
