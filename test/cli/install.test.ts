import assert from 'node:assert/strict'
import { appendFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { findProgram } from '../../cli/find-program.ts'
import { isOurs, unitText } from '../../cli/install/unit.ts'
import { run } from '../support/process.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, tunnelLines } from './tunnel.ts'

const UNITS = 'etc/systemd/system'
const ETC = 'etc/ssh-websocket-tunnel'

test('a unit quotes what systemd would read, and is known again by its mark until somebody changes it', () => {
  const text = unitText({
    description: 'x',
    command: ['/usr/bin/node', '/a b/main.js', 'it"s', '100%', '$HOME'],
    credentials: [{ name: 'token', file: '/etc/t', variable: 'TUNNEL_TOKEN_FILE' }],
    account: 'tunnel-agent',
    stopSeconds: 5,
    reloads: true,
  })
  assert.match(
    text,
    /^ExecStart=\/usr\/bin\/env "TUNNEL_TOKEN_FILE=\$\{CREDENTIALS_DIRECTORY\}\/token" \/usr\/bin\/node "\/a b\/main\.js" "it\\"s" 100%% \$\$HOME$/m,
  )
  for (const line of ['NoNewPrivileges=yes', 'ProtectSystem=strict', 'ProtectHome=yes', 'DynamicUser=yes'])
    assert.ok(text.includes(`\n${line}\n`), line)
  assert.ok(isOurs(text))
  assert.ok(!isOurs(`${text}\n`) && !isOurs(text.replace('[Unit]\n', '')))
})

test('server and agent are installed below a folder, twice without a change, and never over a changed unit', async (t) => {
  const root = await tempFolder(t)
  const env = isolated(join(root, 'home'))
  const token = join(root, 'token')
  writeFileSync(token, 'of-the-agent\n', { mode: 0o600 })
  const install = (...all: string[][]) =>
    tunnelLines(
      all.map((words) => ['install', ...words, '--root', root, '--json']),
      env,
    )
  const agent = ['agent', '--machine', 'home', '--url', 'https://t.example', '--token-file', token]
  const secret = () => readFileSync(join(root, ETC, 'jwt'), 'utf8')

  const [first] = await install(['server'])
  assert.match(
    first?.stdout ?? '',
    /"journalctl -u ssh-websocket-tunnel-server.service -f","what":"shows its log"/,
  )
  const before = secret()
  // A reverse proxy on this host, or else all callers would have its address.
  const settings = JSON.parse(readFileSync(join(root, ETC, 'server.json'), 'utf8')) as {
    server: { trustProxy: string[] }
  }
  assert.deepEqual(settings.server.trustProxy, ['127.0.0.1', '::1'])
  const outcomes = (await install(['server'], agent, agent)).map(({ stdout }) =>
    (JSON.parse(stdout) as { files: { outcome: string }[] }).files.map(({ outcome }) => outcome),
  )
  assert.deepEqual(outcomes, [
    ['kept', 'kept', 'kept', 'unchanged'],
    ['written', 'written'],
    ['unchanged', 'unchanged'],
  ])
  assert.equal(secret(), before)
  for (const name of ['jwt', 'master', 'agent.token'])
    assert.equal(statSync(join(root, ETC, name)).mode & 0o777, 0o600, name)
  assert.equal(readFileSync(join(root, ETC, 'agent.token'), 'utf8'), 'of-the-agent\n')
  const unit = join(root, UNITS, 'ssh-websocket-tunnel-agent.service')
  assert.equal(statSync(unit).mode & 0o777, 0o644)
  assert.doesNotMatch(readFileSync(unit, 'utf8'), /of-the-agent/)

  await t.test('systemd finds no fault with the units', async (t) => {
    if (findProgram('systemd-analyze') === undefined) return t.skip('there is no systemd-analyze')
    for (const kind of ['server', 'agent']) {
      const file = join(root, UNITS, `ssh-websocket-tunnel-${kind}.service`)
      const { code, stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', file])
      assert.deepEqual([code, stdout + stderr], [0, ''], kind)
    }
  })

  appendFileSync(unit, '# mine\n')
  const [refused] = await install(agent)
  assert.equal(refused?.code, 2)
  assert.match(refused.stderr, /was changed since: it is left as it is/)
  assert.ok(readFileSync(unit, 'utf8').endsWith('# mine\n'))
})

test('a dry run prints and writes nothing, and no secret is printed', async (t) => {
  const root = await tempFolder(t)
  const env = isolated(join(root, 'home'), { TUNNEL_TOKEN: 'hunter2', HOME: root })
  const dry = ['install', 'agent', '--machine', 'home', '--login', 'somebody', '--dry-run']
  const [system, own] = await tunnelLines([dry, [...dry, '--user']], env)
  assert.equal(system?.code, 0, system?.stderr)
  const { stdout } = system!
  assert.match(stdout, /^### \/etc\/ssh-websocket-tunnel\/agent\.token \(0600\)\n\[a secret\]$/m)
  assert.match(stdout, /agent --machine home --user somebody --url http:\/\/127\.0\.0\.1:3001$/m)
  assert.doesNotMatch(stdout, /hunter2/)
  assert.match(own!.stdout, /systemd\/user\/ssh-websocket-tunnel-agent\.service \(0644\)$/m)
  assert.doesNotMatch(own!.stdout, /DynamicUser|ProtectHome|hunter2/)
  assert.ok(!existsSync(join(root, ETC)))
})

test('what stands in the way of an installation is one line, and nothing is written', async (t) => {
  const root = await tempFolder(t)
  const env = isolated(join(root, 'home'), { TUNNEL_URL: 'https://t.example' })
  const open = join(root, 'open')
  writeFileSync(open, 'x\n', { mode: 0o644 })
  mkdirSync(join(root, 'etc'))
  const wrong: [line: string, said: RegExp][] = [
    [`agent --root ${root}`, /name this machine: --machine NAME/],
    [`agent --machine HOME --root ${root}`, /"HOME" is not a valid machine name/],
    [`agent --machine home --root ${root}`, /there is no token for home/],
    [`agent --machine home --token-file ${open} --root ${root}`, /can be read by others \(chmod 600 it\)/],
    [`agent --machine home --authorize --root ${root}`, /--authorize needs --user/],
    [`server --machine home --root ${root}`, /install server takes no --machine/],
    [`server --config /nowhere.json --root ${root}`, /\/nowhere\.json does not exist/],
    [`sever --root ${root}`, /install server, or install agent/],
  ]
  if (!existsSync('/run/systemd/system')) wrong.push(['server', /not run by systemd/])
  const lines = wrong.map(([line]) => ['install', ...line.split(' ')])
  for (const [index, { code, stdout, stderr }] of (await tunnelLines(lines, env)).entries()) {
    const [line, said] = wrong[index]!
    assert.ok(code === 2 || code === 3, `${line}: ${code}`)
    assert.equal(stdout, '')
    assert.match(stderr, said)
  }
  assert.ok(!existsSync(join(root, ETC)))
})
