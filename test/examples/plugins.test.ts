import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { Agent } from '../../agent/index.ts'
import { TunnelService } from '../../client/index.ts'
import { resolveSettings } from '../../client/settings.ts'
import { readSecrets } from '../../config/index.ts'
import { signToken } from '../../plugins/auth/tokens.ts'
import { newKeyPair, startSshServer } from '../../testing/ssh-server.ts'
import { Program, run as runProgram } from '../support/process.ts'
import { readAll } from '../support/proxy.ts'
import { tempFolder } from '../support/tree.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '../..')
const EXAMPLES = join(ROOT, 'examples/plugins')

/** A folder in which the proxy and the examples are installed as npm packs them. */
async function install(t: TestContext): Promise<string> {
  const folder = await tempFolder(t, 'plugins')
  const modules = join(folder, 'node_modules')
  await mkdir(modules)
  const packages = [ROOT, ...(await readdir(EXAMPLES)).map((name) => join(EXAMPLES, name))]
  const { stdout } = await run(
    'npm',
    ['pack', '--ignore-scripts', '--json', '--pack-destination', folder, ...packages],
    {
      cwd: folder,
      maxBuffer: 16_777_216,
    },
  )
  for (const { name, filename } of JSON.parse(stdout) as { name: string; filename: string }[]) {
    await mkdir(join(modules, name))
    await run('tar', ['-xzf', join(folder, filename), '--strip-components=1', '-C', join(modules, name)])
  }
  for (const name of await readdir(join(ROOT, 'node_modules')))
    if (!name.startsWith('.')) await symlink(join(ROOT, 'node_modules', name), join(modules, name))
  return folder
}

/** What authors write, in the types that the package's root gives them, and those alone. */
const TYPED = `
import fp from 'fastify-plugin'
import { TunnelError, type CloseContext, type LinkContext, type OpenContext, type TunnelPlugin } from 'ssh-websocket-tunnel'
interface Options { fromHour: number }
const plugin: TunnelPlugin<Options> = fp<Options>(async (app, { fromHour }) => {
  app.tunnel.addHook('preOpen', async (context: OpenContext) => {
    if (new Date().getHours() < fromHour) throw new TunnelError('POLICY_DENIED', 'not at night', { hop: 'proxy' })
    context.headers = { 'x-user': context.user.sub }
    context.log.info('by day')
    context.log.warn({ context: { fromHour } }, 'by day')
  })
  app.tunnel.addHook('onConnect', ({ role }: LinkContext) => void role)
  app.tunnel.addHook('onClose', ({ user, durationMs }: CloseContext) =>
    app.audit.record({ event: 'office.closed', userId: user.sub, details: { durationMs } }),
  )
  app.get('/who', { onRequest: [app.limitByIp, app.requireUser] }, async (request) => request.user.sub)
  app.get('/ws', { websocket: true, onRequest: [app.requireUserOrTicket] }, (socket, request) =>
    socket.send(request.user.sub),
  )
  app.forward.addKind('x-none', async (stream, context) => {
    await context.onOpen()
    stream.accept()
    stream.end(Buffer.from('none'))
  })
  app.auth.addScheme({ name: 'Office', async verify(credentials) { return { sub: credentials } } })
  await app.state.put('office', 'key', { opened: 1 })
  app.lifecycle.onDrain('wait', async ({ leftMs, over }) => void [leftMs, over.aborted])
  app.settings.onChange((changed) => void changed.includes('policy.rules'))
}, { name: 'office', fastify: '5.x', dependencies: ['tunnel-forward', 'tunnel-audit', 'tunnel-auth', 'tunnel-state'] })
export default plugin
export const inferred: TunnelPlugin<Options> = async (app, { fromHour }) => {
  app.tunnel.addHook('preOpen', ({ target }) => void [target, fromHour])
}
export const called: TunnelPlugin = (app, _options, done) => app.settings.onChange((changed) => done(new Error(changed[0])))
`

async function checkTypes(folder: string): Promise<void> {
  await writeFile(join(folder, 'office.mts'), TYPED)
  const options = ['--ignoreConfig', '--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2023']
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
  const { code, stdout } = await runProgram(
    process.execPath,
    [tsc, ...options, '--types', 'node', 'office.mts'],
    {
      cwd: folder,
    },
  )
  assert.deepEqual([code, stdout], [0, ''])
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

test('six plugins, installed as packages beside the packed proxy and named in its configuration, do what they say', async (t) => {
  const folder = await install(t)
  await checkTypes(folder)
  const users = join(folder, 'users.json')
  await writeFile(users, JSON.stringify({ alice: ['home'] }))
  const keys = join(folder, 'keys.json')
  const backup = { sub: 'alice', id: 'backup', tier: 'enterprise' }
  await writeFile(keys, JSON.stringify({ [sha256('4711')]: backup }))
  const plugins = [
    { path: 'tunnel-plugin-audit-log' },
    { path: 'tunnel-plugin-api-keys', options: { file: keys } },
    { path: 'tunnel-plugin-directory', options: { file: users } },
    { path: 'tunnel-plugin-headers', options: { headers: { 'x-office': 'north' } } },
    { path: 'tunnel-plugin-night-rate', options: { fromHour: 0, toHour: 24, perHour: 3 } },
  ]
  const config = join(folder, 'tunnel.json')
  await writeFile(config, JSON.stringify({ plugins }))
  const stateDir = join(folder, 'state')
  const command = join(folder, 'node_modules/ssh-websocket-tunnel/dist/cli/main.cjs')
  const added = ['--plugin', 'tunnel-plugin-disk-free', '--plugin-option', 'maxPathLength=20']
  const proxy = new Program(
    process.execPath,
    [command, 'server', '--port', '0', '--config', config, ...added],
    {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, TUNNEL_STATE_DIR: stateDir },
    },
  )
  t.after(() => proxy.stop())
  const [url] = await proxy.line(/http:\/\/127\.0\.0\.1:\d+/)
  const secrets = readSecrets(stateDir)
  assert.ok(secrets !== undefined)
  const token = (sub: string, roles: string[] = []) =>
    signToken(secrets.jwtSecret, { sub, tier: 'enterprise', roles, ttlSeconds: 3_600 })
  const askBy = (authorization: string, path: string) =>
    fetch(`${url}/api/tunnel/${path}`, { headers: { authorization } })
  const ask = (path: string, bearer: string) => askBy(`Bearer ${bearer}`, path)

  const key = (await (await ask('ssh/key', token('alice'))).json()) as { publicKey: string }
  const sshServer = await startSshServer({
    hostKey: newKeyPair('host').private,
    user: userInfo().username,
    authorizedKeys: () => key.publicKey,
  })
  t.after(() => sshServer.close())
  const settings = resolveSettings({}, 'default', {})
  for (const machine of ['home', 'other']) {
    const ssh = `127.0.0.1:${sshServer.port}`
    const agent = new Agent({ urls: [url], machine, token: 'ApiKey:4711', ssh, settings })
    t.after(() => agent.close())
    await agent.start()
  }
  const seen: unknown[] = []
  const service = createServer(({ headers }, response) => {
    seen.push([headers['x-office'], headers['x-tunnel-user']])
    response.end()
  })
  service.listen(0, '127.0.0.1')
  await once(service, 'listening')
  t.after(() => service.close())

  assert.equal((await askBy('ApiKey 4712', 'machines')).headers.get('www-authenticate'), 'Bearer, ApiKey')
  const machines = (await (await askBy('apikey 4711', 'machines')).json()) as { name: string }[]
  assert.deepEqual(machines.map(({ name }) => name).sort(), ['home', 'other'])
  const tunnel = new TunnelService({ url, token: 'ApiKey:4711' })
  t.after(() => tunnel.disconnect(0))
  await tunnel.connect()
  const refused = (open: Promise<unknown>, code: string, said: RegExp) =>
    assert.rejects(open, (error: { code: string; message: string }) => {
      assert.match(error.message, said)
      return error.code === code
    })
  await refused(tunnel.exec('other', ['true']), 'FORBIDDEN', /our directory does not let alice use other/)
  const { port } = service.address() as AddressInfo
  assert.equal(
    (await tunnel.fetch(`http://home:${port}/`, { headers: { 'x-tunnel-user': 'root' } })).status,
    200,
  )
  assert.deepEqual(seen, [['north', 'alice']])
  const kind = 'x-disk-free'
  const stream = await tunnel.open({ machine: 'home', kind, parameters: { path: '/' } })
  stream.end()
  assert.match(String(await readAll(stream)), /^Filesystem .*\n.* \/\n$/)
  const wrong = tunnel.open({ machine: 'home', kind, parameters: { path: 'etc' } })
  await refused(wrong, 'REQUEST_INVALID', /not an absolute path/)
  await refused(
    tunnel.open({ machine: 'home', kind: 'x-unknown' }),
    'KIND_UNKNOWN',
    /does not carry streams of kind x-unknown/,
  )
  await refused(tunnel.exec('home', ['true']), 'RATE_LIMITED', /more than 3 streams an hour/)
  assert.equal((await ask('disk-free', token('alice'))).status, 403)
  assert.deepEqual(await (await ask('disk-free', token('root', ['admin']))).json(), { asked: 1 })
  const metrics = await (await ask('metrics', token('alice'))).text()
  assert.match(metrics, /tunnel_requests_total\{kind="x-disk-free",outcome="ok"\} 1/)
  assert.doesNotMatch(metrics, /x-unknown/)
  await writeFile(keys, '{}')
  assert.equal((await askBy('ApiKey 4711', 'machines')).status, 401)
  assert.match(proxy.stdout, /"audit":"stream\.closed"/)
  assert.equal(existsSync(join(stateDir, 'audit.log')), false)
})
