import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { COMMANDS } from '../../cli/commands.ts'
import { run } from '../support/process.ts'
import { until } from '../support/proxy.ts'
import { requireSystem } from '../support/sshd.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnel, tunnelLines } from './tunnel.ts'
import { buildWay } from './way.ts'

const TYPES = readFileSync(new URL('../../docs/JSON.md', import.meta.url), 'utf8')
const TSC = new URL('../../node_modules/.bin/tsc', import.meta.url).pathname

/** Types of docs/JSON.md, each with values that were printed: what a compiler would not let anybody write is wrong. */
class Checked {
  readonly #lines: string[] = []
  readonly types = new Set<string>()

  value(type: string, value: unknown, what: string): void {
    this.types.add(type)
    // A fresh literal may have no field that its type has not.
    this.#lines.push(`export const c${this.#lines.length}: ${type} = ${JSON.stringify(value)} // ${what}`)
  }

  async problems(folder: string): Promise<string> {
    const [, types = ''] = /^```ts\n([\s\S]*?)^```$/m.exec(TYPES) ?? []
    const file = join(folder, 'printed.ts')
    writeFileSync(file, `${types}\n${this.#lines.join('\n')}\n`)
    const { stdout } = await run(TSC, [
      '--noEmit',
      '--ignoreConfig',
      '--strict',
      '--types',
      '',
      '--target',
      'es2023',
      file,
    ])
    return stdout.replaceAll(/^.*?\((\d+),.*?\): /gm, (_, line: string) => {
      const text = readFileSync(file, 'utf8').split('\n')[Number(line) - 1] ?? ''
      return `${text}\n  `
    })
  }
}

const objects = (text: string): unknown[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown)

test('docs/JSON.md has every command, and no other', () => {
  const rows = [...TYPES.matchAll(/^\| `([\w -]+)` \| (.+) \|$/gm)]
  assert.deepEqual(
    rows.map(([, name]) => name),
    Object.keys(COMMANDS).sort(),
  )
})

test('what every command prints with --json, good or bad, is of the types in docs/JSON.md', {
  skip: requireSystem('sshd'),
}, async (t) => {
  const way = await buildWay(t)
  const folder = await tempFolder(t)
  const file = (name: string) => join(folder, name)
  const checked = new Checked()
  const env: NodeJS.ProcessEnv = { ...way.env, HOME: folder }
  const printed = async (line: string, status = 0, more: NodeJS.ProcessEnv = {}) => {
    const result = await tunnel([...line.split(' '), '--json'], { env: { ...env, ...more } })
    assert.equal(result.code, status, `${line}: ${result.stdout}${result.stderr}`)
    return result
  }
  const whole = async (type: string, line: string, status = 0, more: NodeJS.ProcessEnv = {}) => {
    const { stdout, stderr } = await printed(line, status, more)
    checked.value(type, JSON.parse(stdout), line)
    for (const each of objects(stderr)) checked.value('Warning', each, line)
    return JSON.parse(stdout) as Record<string, string>
  }
  const lines = (type: string, text: string, what: string): void => {
    for (const each of objects(text)) checked.value(type, each, what)
  }
  writeFileSync(file('near'), 'near')

  await t.test('what is asked of the proxy', async () => {
    await whole('Machines', 'machines')
    await whole('Code', 'machines --enroll other')
    await whole('Status', 'status')
    await whole('Sessions', 'sessions')
    await whole('Key', 'key')
    await whole('Key', 'key --authorize')
    await whole('Diagnosis', 'diagnose home')
    await whole('Diagnosis', 'diagnose nope', 21)
    await whole('Section', 'ssh-config')
    await whole('Written', 'ssh-config --write')
    const { token = '' } = await whole('Token', 'token --sub root --role admin --role wizard')
    await whole('Cluster', 'status --cluster', 1, { TUNNEL_TOKEN: token })
    await whole('RefreshToken', 'token --sub alice --refresh')
    const { code } = await whole('Code', 'machines --enroll other')
    await whole('Enrolled', `agent enroll ${code}`, 0, { XDG_CONFIG_HOME: file('elsewhere') })
  })

  await t.test('what is kept on this computer', async () => {
    await whole('Contexts', `use work --url ${way.url} --token-file ${file('none')}`)
    await whole('Contexts', 'use --remove work')
    await whole('Settings', 'config')
    await whole('Explanations', 'config --explain heartbeat')
    await whole('Script', 'completion bash')
    await whole('Names', 'completion --values machine')
    await whole('Installed', `install server --user --root ${file('image')}`)
    await whole('Planned', 'install server --user --dry-run')
    await whole('Verdict', `audit verify ${join(String(env.TUNNEL_STATE_DIR), 'audit.log')}`)
    await whole('Verdict', `audit verify ${file('near')}`, 1)
  })

  await t.test('what runs over a link', async () => {
    lines('CopyEvent', (await printed(`cp ${file('near')} home:${file('far')}`)).stdout, 'cp')
    lines('CopyEvent', (await printed(`cp ${file('none')} home:${file('far')}`, 1)).stdout, 'cp, none')
    const forward = startTunnel(t, ['forward', '--json', '0:home:127.0.0.1:1'], { env })
    await forward.line(/"ready"/)
    const [, port = ''] = await forward.line(/"listen":\["127\.0\.0\.1:(\d+)"/)
    connect(Number(port), '127.0.0.1').on('error', () => {})
    await forward.line(/"event":"error"/)
    await forward.stop()
    lines('ForwardEvent', forward.stdout, 'forward')
    const socks = startTunnel(t, ['socks', '--json', 'home', '--listen', '*:0'], { env })
    await socks.line(/"ready"/)
    await socks.stop()
    lines('ForwardEvent', socks.stdout, 'socks')
    await whole('Up', 'up')
    await whole('Up', 'up')
    await whole('Status', 'status')
    await whole('Down', 'down')
    await whole('Down', 'down')
  })

  await t.test('what is watched', async () => {
    const exec = startTunnel(t, ['exec', 'home', '--', 'echo begun; cat'], { env, stdin: 'pipe' })
    await exec.line('begun')
    const [{ id = '' } = {}] = (await whole('Sessions', 'sessions')) as unknown as Record<string, string>[]
    const watch = startTunnel(t, ['sessions', 'watch', '--json', id], { env })
    await until(async () => /"watchers": 1/.test((await tunnel(['sessions', '--json'], { env })).stdout))
    exec.write('seen\n')
    await watch.line(/"data"/)
    await whole('Ended', `sessions end ${id}`)
    assert.deepEqual([(await watch.exit).code, watch.stderr], [0, ''])
    lines('Shown', watch.stdout, 'sessions watch')
    await exec.exit
    const machines = startTunnel(t, ['machines', '--watch', '--json'], { env })
    await machines.line(/"home"/)
    await machines.stop()
    lines('Machines', machines.stdout, 'machines --watch')
  })

  await t.test('what logs', async () => {
    const agent = startTunnel(t, ['agent', '--json', '--machine', 'second', '--ssh', '127.0.0.1:1'], { env })
    await agent.line(/second is on line/)
    await agent.stop()
    lines('LogLine', agent.stdout, 'agent')
    lines('LogLine', way.proxy.stdout, 'server')
    await whole('Forgotten', 'machines --forget second')
  })

  await t.test('an address for a browser, from a proxy that has one', async () => {
    const hosted = { TUNNEL_GATEWAY_HOST: 'tunnel.example', TUNNEL_STATE_DIR: file('hosted') }
    const proxy = startTunnel(t, ['server', '--port', '0'], { env: { ...env, ...hosted } })
    const [, url = ''] = await proxy.line(/listening at (http:\S+?)"/i)
    const where = { ...env, ...hosted, TUNNEL_URL: url }
    const agent = startTunnel(t, ['agent', '--machine', 'home', '--ssh', '127.0.0.1:1'], { env: where })
    await agent.line(/on line/)
    await whole('Address', 'open home:80', 0, { ...hosted, TUNNEL_URL: url })
  })

  await t.test('a failure is one object on stderr, and nothing on stdout', async () => {
    const fails: [line: string, status: number][] = [
      ['machines --forget nope', 4],
      ['machines --trust nope', 4],
      ['machines --url http://127.0.0.1:1', 4],
      ['status --token a.b.c', 3],
      ['status --cluster', 5],
      [`sessions end ${'0'.repeat(32)}`, 1],
      [`sessions watch ${'0'.repeat(32)}`, 1],
      ['sessions end x', 2],
      ['key --line', 2],
      ['token', 2],
      ['diagnose a b', 2],
      ['config --explain nothing', 2],
      ['cp near', 2],
      ['cp near nope:', 4],
      ['request http://nope:1/', 4],
      [`request --fail http://home:${way.port}/nothing`, 1],
      ['open home:80', 2],
      ['forward 0:nope', 2],
      ['socks home --listen x:y:z', 2],
      ['use nothing', 2],
      ['login', 1],
      ['logout', 2],
      ['up --token a.b.c', 3],
      ['agent enroll ABCD', 3],
      ['server --port 99999', 2],
      ['install client', 2],
      ['audit verify nowhere', 2],
      ['completion tcsh', 2],
      ['demo --nothing', 2],
      ['ssh-config --write --token a.b.c', 3],
      ['nonsense', 2],
    ]
    const all = await tunnelLines(
      fails.map(([line]) => [...line.split(' '), '--json']),
      env,
    )
    for (const [index, [line, status]] of fails.entries()) {
      const { code, stdout, stderr } = all[index]!
      assert.equal(code, status, `${line}: ${stdout}${stderr}`)
      const told = objects(stderr)
      assert.deepEqual([stdout, told.length], ['', 1], `${line}: ${stderr}`)
      checked.value('Failure', told[0], line)
      assert.equal((told[0] as { error: { exitStatus: number } }).error.exitStatus, status)
    }
    // What it has said before is in its log.
    lines('Failure', (await printed('agent --machine home --token a.b.c', 3)).stderr, 'agent')
    for (const words of [
      ['exec', '--json', 'nope', '--', 'true'],
      ['shell', '--json', 'nope'],
      ['exec', '--json', '--verbose', 'nope', '--', 'true'],
      ['stdio', '--json', 'nope'],
      ['ssh', '--json', '-p'],
    ]) {
      const { stdout, stderr } = await tunnel(words, { env })
      assert.equal(stdout, '')
      lines('Failure', stderr, words.join(' '))
    }
  })

  await t.test('a login and its end', async () => {
    const issuer = createServer((request, response) => {
      const url = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}`
      const answers: Record<string, object> = {
        '/device': {
          ...{ device_code: 'd', user_code: 'ABCD', verification_uri: `${url}/confirm` },
          ...{ expires_in: 600, interval: 1 },
        },
        '/token': { access_token: 'x.y.z', token_type: 'Bearer', expires_in: 600 },
        '/api/tunnel/auth/login': { issuer: url, clientId: 'tunnel', scope: 'openid', audience: 'tunnel' },
        '/api/tunnel/machines': [],
      }
      const found = {
        ...{ issuer: url, token_endpoint: `${url}/token` },
        device_authorization_endpoint: `${url}/device`,
      }
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify(answers[request.url ?? ''] ?? found))
    }).listen(0, '127.0.0.1')
    await once(issuer, 'listening')
    t.after(() => issuer.close())
    t.after(() => issuer.closeAllConnections())
    const url = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}`
    const own = isolated(file('login'))
    const login = await tunnel(['login', '--json', '--url', url], { env: own })
    assert.equal(login.code, 0, login.stderr)
    checked.value('LoggedIn', JSON.parse(login.stdout), 'login')
    lines('Prompt', login.stderr, 'login')
    // It names no address at which a token can be revoked.
    const logout = await tunnel(['logout', '--json'], { env: own })
    assert.equal(logout.code, 1, logout.stderr)
    checked.value('LoggedOut', JSON.parse(logout.stdout), 'logout')
    lines('Failure', logout.stderr, 'logout')
  })

  // The demo has a test of its own, which takes long.
  checked.value('Demonstration', { ok: true, findings: [{ step: 'a', ok: true, text: 'b' }] }, 'demo')
  assert.equal(await checked.problems(folder), '')
  const rows = [...TYPES.matchAll(/^\| `[\w -]+` \| (.+) \|$/gm)].map(([, text = '']) => text)
  const named = rows.flatMap((text) => [...text.matchAll(/`([A-Z]\w+)`/g)].map(([, type = '']) => type))
  const missing = named.filter((type) => !checked.types.has(type))
  // A proxy that is away while it is watched: test/cli/watch.test.ts.
  assert.deepEqual([...new Set(missing)], ['Lost', 'Machine'])
})
