import assert from 'node:assert/strict'
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { parseClientFile } from '../../cli/contexts/client-file.ts'
import { wordsOf } from '../../cli/contexts/words.ts'
import { type AccessOptions, accessFrom, agentAccessFrom } from '../../cli/credentials.ts'
import { tokenOfCommand } from '../../client/tokens/command.ts'
import { askToken } from '../../dial/token.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { respond, startProxy } from '../client/proxy.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, tunnel, tunnelLines } from './tunnel.ts'

const WORK = 'https://work.example'

/** A home in which the file says this, and the environment of a person there. */
async function home(t: TestContext, tree: unknown, more: NodeJS.ProcessEnv = {}) {
  const folder = await tempFolder(t)
  const env = isolated(folder, more)
  const dir = join(env.XDG_CONFIG_HOME!, 'ssh-websocket-tunnel')
  mkdirSync(dir, { recursive: true })
  const file = join(dir, 'config.json')
  const write = (value: unknown): void =>
    writeFileSync(file, typeof value === 'string' ? value : JSON.stringify(value), { mode: 0o600 })
  if (tree !== undefined) write(tree)
  writeFileSync(join(dir, 'work.token'), 'of-work\n', { mode: 0o600 })
  return { env, dir, file, write }
}

const TWO = {
  current: 'work',
  contexts: {
    work: { url: WORK, tokenFile: 'work.token', profile: 'unstable-network' },
    home: { url: ['http://127.0.0.1:3001', 'http://127.0.0.1:3002'], tokenCommand: ['echo', 'of-home'] },
  },
}

test('flags are stronger than the environment, that than the context, and that than the defaults', async (t) => {
  const { env, write } = await home(t, TWO)
  const ask = async (options: AccessOptions, more: NodeJS.ProcessEnv = {}) => {
    const { urls, token, profile, context } = accessFrom(options, { ...env, ...more })
    return [urls.join(' '), await askToken(token).catch((error) => error.code as string), profile, context]
  }
  assert.deepEqual(await ask({}), [WORK, 'of-work', 'unstable-network', 'work'])
  const both = 'http://127.0.0.1:3001 http://127.0.0.1:3002'
  assert.deepEqual(await ask({ context: 'home' }), [both, 'of-home', undefined, 'home'])
  assert.deepEqual(await ask({}, { TUNNEL_CONTEXT: 'home' }), [both, 'of-home', undefined, 'home'])
  assert.deepEqual(await ask({ context: 'work' }, { TUNNEL_CONTEXT: 'home' }), [
    WORK,
    'of-work',
    'unstable-network',
    'work',
  ])
  assert.deepEqual(await ask({ profile: 'default' }, { TUNNEL_TOKEN: 't' }), [WORK, 't', 'default', 'work'])
  assert.deepEqual(await ask({ token: 'flag' }, { TUNNEL_TOKEN: 't', TUNNEL_PROFILE: 'low-bandwidth' }), [
    WORK,
    'flag',
    'low-bandwidth',
    'work',
  ])
  // The same address, written otherwise, is the context's own.
  assert.deepEqual(await ask({}, { TUNNEL_URL: 'wss://work.example/' }), [
    'wss://work.example/',
    'of-work',
    'unstable-network',
    'work',
  ])
  write({ contexts: {} })
  assert.deepEqual(await ask({ token: 't' }), ['http://127.0.0.1:3001', 't', undefined, undefined])
})

test('the token of a context goes to its own addresses and to no other', async (t) => {
  const { env } = await home(t, TWO)
  const foreign = { url: 'http://elsewhere.example' }
  const { token, context } = accessFrom(foreign, env)
  assert.equal(context, undefined)
  await assert.rejects(askToken(token), /no token was given/)
  const named = accessFrom({ ...foreign, context: 'work' }, env)
  await assert.rejects(askToken(named.token), /the token of the context "work" is not for http:\/\/elsewhere/)
  const one = accessFrom({ url: [WORK, 'http://elsewhere.example'] }, env)
  await assert.rejects(askToken(one.token), /no token was given/)
})

test('an agent goes by what its machine was enrolled with, before any context', async (t) => {
  const agents = { home: { url: 'https://other.example', tokenFile: 'work.token' } }
  const { env } = await home(t, { ...TWO, agents })
  assert.deepEqual(agentAccessFrom({}, 'home', env).urls, ['https://other.example'])
  assert.deepEqual(agentAccessFrom({}, 'nas', env).urls, [WORK])
  assert.deepEqual(agentAccessFrom({ context: 'work' }, 'home', env).urls, [WORK])
})

test('a file that is broken is one line with its name and the line, and quotes no value', () => {
  const wrong: [text: string, said: RegExp][] = [
    ['{\n"contexts": {\n"a": {"url": "http://x"}\n"b": {}}}', /^\/c\.json, line 4: .*a comma is missing$/],
    ['{\n"contexts": {"a": {"url": "ftp://x"}}}', /^\/c\.json, line 2: "ftp:\/\/x" is not a valid address/],
    [
      '{"contexts": {"a": {\n"tokn": "hunter2", "url": "http://x"}}}',
      /line 2: there is no "tokn" in contexts\.a/,
    ],
    ['{"contexts": {"a": {"url": "http://x", "profil": ""}}}', /did you mean profile\?/],
    ['{"contexts": {"a": {"url": "http://x", "profile": "defult"}}}', /did you mean default\?/],
    ['{"contexts": {"a": {"url": []}}}', /an address of the proxy is missing/],
    ['{"contexts": {"a": {}}}', /contexts\.a\.url must be a text/],
    ['{"contexts": {"a": {"url": "http://x", "tokenCommand": "hunter2"}}}', /must be a list of a program/],
    [
      '{"contexts": {"a": {"url": "http://x", "tokenFile": "f", "tokenCommand": ["c"]}}}',
      /give tokenFile or tokenCommand, not 2 of them/,
    ],
    ['{"contexts": {"__proto__": {"url": "http://x"}}}', /"__proto__" is not a valid name/],
    [
      '{"current": "wrk",\n"contexts": {"work": {"url": "http://x"}}}',
      /line 1: .*"wrk"; did you mean work\?/,
    ],
    // What `tunnel use` would do about it, it cannot do before that.
    ['{"current": "home", "contexts": {}}', /no context "home"; name another as "current", or none$/],
    ['[]', /line 1: the file must be an object/],
  ]
  for (const [text, said] of wrong) {
    assert.throws(
      () => parseClientFile(text, '/c.json'),
      (error) => {
        assert.ok(error instanceof TunnelError)
        assert.equal(error.code, 'CONFIG_INVALID')
        assert.match(error.message, said)
        assert.doesNotMatch(error.message, /hunter2|\n/)
        return true
      },
      text,
    )
  }
})

test('a file that others can write to is not believed, and is not needed where all is given', async (t) => {
  const { env, file } = await home(t, TWO)
  chmodSync(file, 0o620)
  assert.throws(() => accessFrom({}, env), /config\.json can be written to by others \(chmod go-w it\)/)
  assert.deepEqual(accessFrom({ token: 't', url: 'http://x' }, env).urls, ['http://x'])
})

test("a context's token file that others can read is refused, as ssh does with keys", async (t) => {
  const { env, dir } = await home(t, TWO)
  chmodSync(join(dir, 'work.token'), 0o640)
  const { token } = accessFrom({}, env)
  await assert.rejects(askToken(token), /work\.token can be read by others \(chmod 600 it\)/)
})

test('a token command is run without a shell, bounded in time and size, and what it printed is not told', async () => {
  assert.deepEqual(wordsOf(`a 'b c'"d"  \\e $f`), ['a', 'b cd', '\\e', '$f'])
  assert.throws(() => wordsOf(`a 'b`), /not closed/)
  assert.equal(await tokenOfCommand(['printf', '%s\n', '$HOME']), '$HOME')
  // What it leaves running holds its output open.
  assert.equal(await tokenOfCommand(['sh', '-c', 'sleep 3 & echo token']), 'token')
  const fails: [words: string[], said: RegExp][] = [
    [['sh', '-c', 'echo hunter2; echo locked >&2; exit 3'], /sh ended with status 3: locked$/],
    [['sh', '-c', 'kill -9 $$'], /was ended by SIGKILL$/],
    [['true'], /printed nothing$/],
    [['/nowhere/pass'], /\/nowhere\/pass was not found$/],
    [['yes', 'hunter2'], /printed more than 16384 bytes$/],
    [['sh', '-c', 'echo hunter2; exec sleep 9'], /did not end within 1 s$/],
  ]
  for (const [words, said] of fails) {
    const sleeps = words.at(-1)?.includes('sleep 9')
    await assert.rejects(tokenOfCommand(words, sleeps ? 1_000 : undefined), (error) => {
      assert.ok(error instanceof TunnelError)
      assert.equal(error.code, 'TOKEN_MISSING')
      assert.match(error.message, said)
      assert.doesNotMatch(error.message, /hunter2/)
      return true
    })
  }
})

test('`tunnel use` makes, changes, lists and removes contexts, in a file of its owner alone', async (t) => {
  const { env, dir, file } = await home(t, undefined)
  const use = (...all: string[][]) =>
    tunnelLines(
      all.map((words) => ['use', ...words]),
      env,
    )
  const [unknown, made] = await use(['work'], ['work', '--url', WORK])
  assert.match(unknown!.stderr, /there is no context "work".*`tunnel use work --url URL` makes it/)
  assert.match(made!.stdout, /^work is used now: https:\/\/work\.example\n$/)
  assert.equal(statSync(file).mode & 0o777, 0o600)
  const [, , listed, mistyped, profile, removed] = await use(
    ['home', '--url', 'http://127.0.0.1:1', '--token-command', "pass show 'my token'"],
    ['work', '--token-file', join(dir, 'work.token')],
    ['--json'],
    ['hme'],
    ['work', '--profile', 'nope'],
    ['--remove', 'work'],
  )
  assert.deepEqual(JSON.parse(listed!.stdout), {
    file,
    current: 'work',
    contexts: {
      work: { urls: [WORK], tokenFile: join(dir, 'work.token') },
      home: { urls: ['http://127.0.0.1:1'], tokenCommand: ['pass', 'show', 'my token'] },
    },
  })
  assert.match(mistyped!.stderr, /there is no context "hme"; did you mean home\?/)
  assert.match(profile!.stderr, /"nope" is not a known profile/)
  assert.match(removed!.stdout, /work is forgotten; no context is used now/)
  // What is broken is never overwritten.
  writeFileSync(file, '{')
  const [broken] = await use(['new', '--url', WORK])
  assert.deepEqual([broken?.code, readFileSync(file, 'utf8')], [2, '{'], broken?.stderr)
})

test('tools that change the file at once lose nothing, and a link to it stays one', async (t) => {
  const { env, dir, file } = await home(t, undefined)
  const real = join(dir, 'dotfile.json')
  symlinkSync(real, file)
  const names = Array.from({ length: 6 }, (_, index) => `c${index}`)
  const all = await Promise.all(names.map((name) => tunnel(['use', name, '--url', WORK], { env })))
  assert.deepEqual(
    all.map(({ code }) => code),
    names.map(() => 0),
  )
  const { contexts } = JSON.parse(readFileSync(real, 'utf8')) as { contexts: Record<string, unknown> }
  assert.deepEqual(Object.keys(contexts).sort(), names)
  assert.deepEqual(readdirSync(dir).sort(), ['config.json', 'dotfile.json', 'work.token'])
})

test('a program without an environment reaches the machine by the context, with a token given on stdin', async (t) => {
  const proxy = await startProxy(t, { onStream: (stream) => respond(stream, 200) })
  const { env } = await home(t, undefined)
  const words = ['use', 'test', '--url', proxy.url, '--token-file', '-']
  assert.equal((await tunnel(words, { env, input: 'given-once\n' })).code, 0)
  assert.equal((await tunnel(['request', 'http://home:1/'], { env })).code, 0)
  assert.deepEqual(proxy.tokens, ['given-once'])
})
