import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { ConfigError, type LoadOptions, loadSettings } from '../../config/index.ts'
import { readOrMakeSecrets, readSecrets } from '../../config/secrets.ts'
import { mistrustOf } from '../../protocol/node/trust.ts'
import { compiledModule } from '../support/compiled.ts'

const LONG = 'long enough to be a secret, surely'

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'tunnel-secrets-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

function refusalOf(options: LoadOptions): ConfigError {
  try {
    loadSettings(options)
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error))
    return error
  }
  return assert.fail('nothing was refused')
}

test('without production the secrets are made once, for the owner alone, and found again', (t) => {
  const stateDir = join(folder(t), 'state')
  const first = loadSettings({ stateDir, env: {} })
  const file = join(stateDir, 'secrets.json')
  assert.equal(statSync(file).mode & 0o777, 0o600)
  assert.equal(statSync(stateDir).mode & 0o777, 0o700)
  assert.deepEqual(readdirSync(stateDir), ['secrets.json'])
  const { jwtSecret, masterSecret } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>
  assert.deepEqual([first.settings.auth.secret, first.settings.ssh.masterSecret], [jwtSecret, masterSecret])
  assert.notEqual(jwtSecret, masterSecret)
  assert.ok(Buffer.byteLength(jwtSecret ?? '') >= 32)
  assert.equal(first.sources.get('auth.secret'), `file ${file}`)
  assert.deepEqual(loadSettings({ stateDir, env: {} }).settings, first.settings)
  assert.notEqual(loadSettings({ stateDir: join(folder(t), 'x'), env: {} }).settings.auth.secret, jwtSecret)
})

test('production without secrets is refused, names both ways to give them, and leaves nothing behind', (t) => {
  const stateDir = join(folder(t), 'state')
  const { problems } = refusalOf({ profile: 'production', stateDir, env: {} })
  assert.deepEqual(
    problems.map(({ path, kind }) => [path, kind]),
    [
      ['auth.secret', 'missing'],
      ['ssh.masterSecret', 'missing'],
    ],
  )
  assert.match(problems[0]?.reason ?? '', /TUNNEL_JWT_SECRET, or TUNNEL_JWT_SECRET_FILE/)
  assert.match(problems[1]?.reason ?? '', /TUNNEL_MASTER_SECRET, or TUNNEL_MASTER_SECRET_FILE/)
  assert.ok(!existsSync(stateDir))
  // Not even those that a development server left there before.
  readOrMakeSecrets(stateDir)
  assert.equal(refusalOf({ profile: 'production', stateDir, env: {} }).problems.length, 2)
})

test('production takes its secrets from variables and from files', (t) => {
  const file = join(folder(t), 'master')
  writeFileSync(file, `${LONG} from a file\n`, { mode: 0o600 })
  const env = { TUNNEL_PROFILE: 'production', TUNNEL_JWT_SECRET: LONG, TUNNEL_MASTER_SECRET_FILE: file }
  const { settings, sources, profile } = loadSettings({ env })
  assert.equal(profile, 'production')
  assert.equal(settings.auth.secret, LONG)
  assert.equal(settings.ssh.masterSecret, `${LONG} from a file`)
  assert.equal(sources.get('ssh.masterSecret'), 'environment TUNNEL_MASTER_SECRET_FILE')
})

test('a secret that is too short, empty, unreadable or given twice is refused and not shown', () => {
  const base = { HOME: '/nonexistent', TUNNEL_MASTER_SECRET: LONG }
  const reasons = (env: Record<string, string>) => {
    const { problems, message } = refusalOf({ env: { ...base, ...env } })
    assert.doesNotMatch(message, /hunter2|long enough to be/)
    return problems.map(({ path, source, reason }) => `${path} (${source}): ${reason}`).join('\n')
  }
  assert.match(
    reasons({ TUNNEL_JWT_SECRET: 'hunter2' }),
    /auth\.secret .*TUNNEL_JWT_SECRET.*at least 32 bytes long, and is 7/,
  )
  assert.match(reasons({ TUNNEL_JWT_SECRET: '' }), /at least 32 bytes long, and is 0/)
  assert.match(reasons({ TUNNEL_JWT_SECRET: 'x'.repeat(31) }), /and is 31/)
  assert.match(reasons({ TUNNEL_JWT_SECRET_FILE: '/nonexistent/secret' }), /nonexistent.*ENOENT/)
  assert.match(reasons({ TUNNEL_JWT_SECRET: LONG, TUNNEL_JWT_SECRET_FILE: '/dev/null' }), /give one of them/)
  assert.match(reasons({ TUNNEL_JWT_SECRET: LONG, TUNNEL_AUTH_SECRET: LONG }), /give one of them/)
})

test('a bad profile, a bad setting or a bad name of a profile makes no secrets', (t) => {
  const stateDir = join(folder(t), 'state')
  refusalOf({ stateDir, env: {}, profile: 'prodction' })
  refusalOf({ stateDir, env: {}, flags: ['server.port=x'] })
  assert.ok(!existsSync(stateDir))
})

test('a file of secrets that is damaged is refused and never replaced', (t) => {
  const stateDir = folder(t)
  const file = join(stateDir, 'secrets.json')
  for (const content of [
    '',
    '{"jwtSecret":',
    '{}',
    JSON.stringify({ jwtSecret: LONG, masterSecret: 'short' }),
  ]) {
    writeFileSync(file, content)
    const { problems } = refusalOf({ stateDir, env: {} })
    assert.equal(problems[0]?.path, 'state.dir')
    assert.ok(problems[0]?.reason.includes(file))
    assert.equal(readFileSync(file, 'utf8'), content)
  }
})

test('a file of secrets that others can read is refused', (t) => {
  const stateDir = folder(t)
  loadSettings({ stateDir, env: {} })
  chmodSync(join(stateDir, 'secrets.json'), 0o644)
  const { problems } = refusalOf({ stateDir, env: {} })
  assert.match(problems[0]?.reason ?? '', /can be read by others \(chmod 600 it\)/)
  assert.throws(() => readSecrets(stateDir), /can be read by others/)
})

test('a state folder that everybody can write to is refused, with given secrets too, and nothing is put into it', (t) => {
  const stateDir = folder(t)
  chmodSync(stateDir, 0o777)
  for (const env of [{}, { TUNNEL_JWT_SECRET: LONG, TUNNEL_MASTER_SECRET: `${LONG}.` }]) {
    const { problems } = refusalOf({ stateDir, env })
    assert.deepEqual(
      problems.map(({ path, reason }) => [path, reason]),
      [['state.dir', `${stateDir} can be written to by everybody (chmod o-w it)`]],
    )
  }
  assert.deepEqual(readdirSync(stateDir), [])
})

test('what the state folder holds is no link, and the folder itself may be one', (t) => {
  const [stateDir, elsewhere] = [folder(t), folder(t)]
  for (const name of ['secrets.json', 'audit.log', 'db']) {
    const link = join(stateDir, name)
    symlinkSync(elsewhere, link)
    const { problems } = refusalOf({ stateDir, env: {} })
    assert.equal(problems[0]?.reason, `${link} is a symbolic link`)
    rmSync(link)
  }
  const alias = join(elsewhere, 'alias')
  symlinkSync(stateDir, alias)
  assert.deepEqual(loadSettings({ stateDir: alias, env: {} }).warnings, [])
})

test('a state folder that cannot be there is told with what the system says, and nothing hangs', (t) => {
  const file = join(folder(t), 'file')
  writeFileSync(file, '')
  const reasonFor = (dir: string) => refusalOf({ env: { TUNNEL_STATE_DIR: dir } }).message
  assert.match(reasonFor(file), /state\.dir = .*file is not a folder/)
  assert.match(reasonFor(join(file, 'below')), /ENOTDIR/)
  // Node's own recursive mkdir never returns here.
  if (existsSync('/proc/self')) assert.match(reasonFor('/proc/none/state'), /ENOENT/)
})

test('a file with a secret that everybody can write to is refused, and a link to a good one is followed', (t) => {
  const file = join(folder(t), 'secret')
  writeFileSync(file, LONG, { mode: 0o600 })
  symlinkSync(file, `${file}.link`)
  const env = { TUNNEL_JWT_SECRET_FILE: `${file}.link` }
  const stateDir = folder(t)
  assert.equal(loadSettings({ stateDir, env }).settings.auth.secret, LONG)
  chmodSync(file, 0o666)
  const { problems } = refusalOf({ stateDir, env })
  assert.match(problems[0]?.reason ?? '', /can be written to by everybody/)
})

test("another user's file is not believed, and root's is", () => {
  assert.match(mistrustOf({ uid: 1_001, mode: 0o600 }, 1_000) ?? '', /belongs to another user/)
  assert.match(mistrustOf({ uid: 1_001, mode: 0o600 }, 0) ?? '', /belongs to another user/)
  assert.equal(mistrustOf({ uid: 0, mode: 0o644 }, 1_000), undefined)
  assert.equal(mistrustOf({ uid: 1_000, mode: 0o600 }, 1_000), undefined)
})

test('looking at the settings makes no secrets', (t) => {
  const stateDir = join(folder(t), 'state')
  const { settings, explain } = loadSettings({ stateDir, env: {}, secrets: 'leave' })
  assert.equal(settings.auth.secret, '')
  assert.deepEqual(
    explain().find(({ path }) => path === 'auth.secret'),
    { path: 'auth.secret', value: '', source: 'default' },
  )
  assert.ok(!existsSync(stateDir))
  assert.equal(readSecrets(stateDir), undefined)
  const made = loadSettings({ stateDir, env: {} })
  assert.equal(
    loadSettings({ stateDir, env: {}, secrets: 'leave' }).settings.auth.secret,
    made.settings.auth.secret,
  )
})

test('a proxy that other machines reach without TLS is warned about, one behind a proxy that ends TLS is not', (t) => {
  const stateDir = folder(t)
  const warningsOf = (...flags: string[]) => loadSettings({ stateDir, env: {}, flags }).warnings
  assert.match(warningsOf('server.host=0.0.0.0').join(), /no TLS/)
  assert.deepEqual(warningsOf('server.host=0.0.0.0', 'server.trustProxy=["10.0.0.1"]'), [])
  assert.deepEqual(warningsOf('server.host=::1'), [])
  assert.match(warningsOf(`auth.secret=${LONG}`).join(), /other users of this machine can see/)
})

test('files of TLS that are not there are refused at the start', () => {
  const env = { HOME: '/nonexistent', TUNNEL_JWT_SECRET: LONG, TUNNEL_MASTER_SECRET: `${LONG}!` }
  const flags = ['server.tls.cert=/nonexistent/cert.pem', 'server.tls.key=/nonexistent/key.pem']
  assert.deepEqual(
    refusalOf({ env, flags }).problems.map(({ path }) => path),
    ['server.tls.cert', 'server.tls.key'],
  )
  assert.equal(refusalOf({ env, flags: ['server.tls.cert=/dev/null'] }).problems[0]?.path, 'server.tls.key')
})

test('of processes that start at once one makes the secrets and all have the same', async (t) => {
  const stateDir = join(folder(t), 'deep', 'state')
  const program = `
    const { readOrMakeSecrets } = await import(${JSON.stringify(compiledModule('config/secrets.ts'))})
    process.stdin.once('data', () => {
      process.stdout.write(readOrMakeSecrets(process.argv[1]).jwtSecret)
      process.exit()
    })
    process.stderr.write('ready')`
  const children = Array.from({ length: 4 }, () =>
    spawn(process.execPath, ['--input-type=module', '-e', program, stateDir]),
  )
  t.after(() => children.forEach((child) => void child.kill('SIGKILL')))
  await Promise.all(children.map((child) => once(child.stderr, 'data')))
  const said = children.map(async (child) => {
    const chunks: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
    child.stdin.write('go\n')
    await once(child, 'close')
    return Buffer.concat(chunks).toString()
  })
  const secrets = new Set(await Promise.all(said))
  assert.equal(secrets.size, 1)
  assert.equal([...secrets][0], readSecrets(stateDir)?.jwtSecret)
  assert.deepEqual(readdirSync(stateDir), ['secrets.json'])
})
