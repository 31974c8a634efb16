import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import test from 'node:test'
import { COMMANDS } from '../../cli/commands.ts'
import { run } from '../support/process.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, TUNNEL, tunnel, tunnelLines } from './tunnel.ts'

test('every command shows its usage and an example', async (t) => {
  const names = Object.keys(COMMANDS)
  const env = isolated(await tempFolder(t))
  const printed = await tunnelLines(
    names.map((name) => [...name.split(' '), '--help']),
    env,
  )
  for (const [index, name] of names.entries()) {
    const { code, stdout, stderr } = printed[index]!
    assert.equal(code, 0, stderr)
    assert.match(stdout, new RegExp(`^Usage: tunnel ${name}\\b`))
    assert.match(stdout, new RegExp(`^  \\$ .*(tunnel|npm run) ${name}`, 'm'))
    assert.match(stdout, /^ +--json /m)
  }
})

test('the overview names every command and only those', async () => {
  const { code, stdout } = await tunnel(['--help'])
  assert.equal(code, 0)
  const listed = [...stdout.matchAll(/^ {2}([a-z-]+(?: [a-z]+)?) {2,}/gm)].map(([, name]) => name)
  assert.deepEqual(
    listed.filter((name) => name !== 'help'),
    Object.keys(COMMANDS),
  )
})

test('the version is that of the package', async () => {
  const { stdout } = await tunnel(['--version'])
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/)
})

const MISTAKES: [line: string, said: RegExp][] = [
  ['', /^Usage: tunnel/],
  ['servr', /unknown command 'servr' \(Did you mean server\?\)/],
  ['help servr', /unknown command 'servr' \(Did you mean server\?\)/],
  ['help scp', /unknown command "scp": `tunnel cp/],
  ['audit', /unknown command "audit"; did you mean audit verify\?/],
  ['help audit', /unknown command "audit"; did you mean audit verify\?/],
  ['server --prot 1', /unknown option '--prot' \(Did you mean --port\?\)/],
  ['login a:b', /"a:b" is not a valid name: a name has/],
  ['machines extra', /^tunnel machines: unexpected argument "extra": tunnel machines \[options\] \(USAGE\)/],
  ['forward 8080:home:80', /did you mean 8080:home:127\.0\.0\.1:80\?/],
  ['machines --url ftp://x --token t', /"ftp:\/\/x" is not a valid address of a proxy: it must look like/],
  ['request --token t https://home/x', /must look like http:\/\/MACHINE:PORT\/path.*in plain HTTP, inside/],
  ['request --token t -X', /argument missing/],
  ['exec --token t home --token u -- true', /put --token before the machine/],
  ['exec --token t HOME -- true', /"HOME" is not a valid machine name/],
  ['cp', /missing required argument|name what to copy/],
  ['cp --token t a', /name what to copy and where to/],
  ['cp --token t a b', /neither side is a machine/],
  ['cp --token t home:a nas:b', /one side has to be this computer/],
  ['cp --token t home:a nas:b c', /all sources have to be on one machine/],
  ['cp --token t a home:b c', /all sources have to be on one machine/],
  ['cp --token t me@home:a b', /leave out "me@"/],
  ['cp --token t HOME:a b', /"HOME" is not a valid machine name/],
  ['cp --token t ./home:a /x:y', /neither side is a machine/],
  ['cp --token t al@x/home:a b', /al@x\/home of another user is home\+al\+x\.tunnel:a/],
  ['ssh me@al@x/home', /write home\+al\+x\.tunnel/],
  ['shell --token t HOME', /"HOME" is not a valid machine name/],
  ['stdio --token t HOME', /"HOME" is not a valid machine name/],
  ['machines --token t --forget ..', /"\.\." is not a valid machine name/],
  ['machines --token=', /--token is given without a value/],
  ['machines --token t --url=', /--url is given without a value/],
  ['machines --token t --profile=', /--profile is given without a value/],
  ['machines --token t --url http://me:hunter2@127.0.0.1', /^(?!.*hunter2).*takes no name, password/],
  ['machines --token t --url http://127.0.0.1?token=hunter2', /^(?!.*hunter2).*takes no name, password/],
  ['request --token t http://me:hunter2@home:1/', /^(?!.*hunter2).*takes no name and password/],
  ['request --token t -X B@D http://home:1/', /"B@D" is not a valid method/],
  ['exec --token t home', /name the command|missing required argument/],
  ['stdio', /name one machine/],
  ['stdio home nonsense', /HOST:PORT/],
  ['stdio --wat home', /Unknown option '--wat'/],
  ['ssh', /name the machine/],
  ['ssh --wat home', /unknown option '--wat'/],
  ['agent', /--machine/],
  ['agent enrol ABCD', /unknown command "agent enrol"; did you mean agent enroll\?/],
  ['agent enroll', /missing required argument/],
  ['agent --machine home --ssh nonsense --token t', /HOST:PORT/],
  ['agent --machine home --allow x:99999 --token t', /HOST:PORT/],
  ['token', /--sub/],
  ['token --sub a --ttl soon', /90s, 15m, 1h or 30d/],
  ['token --sub a --ttl 9000000h', /90s, 15m, 1h or 30d/],
  ['token --sub a --role rôle', /--role takes a plain name/],
  ['request --token t -X CONNECT http://home:1/', /CONNECT cannot be sent/],
  ['request --token t -X GET -d a http://home:1/', /GET cannot carry a body/],
  ['token --sub a --tier gold', /free, premium, enterprise/],
  ['server --profile nope', /"nope" is not a known profile/],
  [
    'server --set log.levle=info --port 70000',
    /log\.levle.*server\.port = "?70000|server\.port = "?70000.*log\.levle/,
  ],
  ['server --profile production', /TUNNEL_JWT_SECRET.*TUNNEL_MASTER_SECRET/],
  ['server --config /nowhere.json', /\/nowhere\.json/],
  ['server --plugin /nowhere.ts', /the plugin \/nowhere\.ts does not exist/],
  ['config --profile nope', /"nope" is not a known profile/],
  ['config --profile unstable-netwrk', /did you mean unstable-network\?/],
  ['config --explain hartbeat', /did you mean heartbeat\?/],
  ['config --explain redisUrl', /did you mean state\.redisUrl\?/],
  ['config --explain port', /did you mean server\.port or cluster\.port\?/],
  ['config --explain heartbeat.intervallMs', /did you mean heartbeat\.intervalMs\?/],
  ['machines --token t --url htps://x.example', /did you mean https:\/\/x\.example\?/],
  ['machines --token t --url x.example:3001', /did you mean https:\/\/x\.example:3001\?/],
  ['machines --token t --url htpp://127.0.0.1:3001', /did you mean http:\/\/127\.0\.0\.1:3001\?/],
  ['machines --token t --context wrk', /there is no context "wrk"/],
  ['machines --watch --enroll home', /no two of them/],
  ['use a --remove b', /no two of them/],
  ['use a/b --url http://x', /"a\/b" is not a valid name/],
  ['use a --url', /argument missing/],
  ['use --url http://x', /name the context/],
  ['completion tcsh', /bash\|zsh\|fish/],
  ['ssh-config HOME', /"HOME" is not a valid machine name/],
]

test('a mistake in the command line is one line on stderr and status 2', async (t) => {
  const env = isolated(await tempFolder(t))
  const printed = await tunnelLines(
    MISTAKES.map(([line]) => line.split(' ').filter(Boolean)),
    env,
  )
  for (const [index, [line, said]] of MISTAKES.entries()) {
    const { code, stdout, stderr } = printed[index]!
    assert.equal(code, 2, `tunnel ${line}: ${stdout}${stderr}`)
    assert.equal(stdout, '', line)
    assert.match(stderr, said)
    if (line !== '') assert.match(stderr, /^tunnel( [\w -]+)?: [^\n]+\n$/)
  }
  // The program itself passes the status on.
  assert.equal((await tunnel(['servr'], { env })).code, 2)
})

test('an error with --json is JSON on stderr', async (t) => {
  const env = isolated(await tempFolder(t))
  const { code, stderr } = await tunnel(['machines', '--json'], { env })
  assert.equal(code, 3)
  const { error } = JSON.parse(stderr) as { error: Record<string, unknown> }
  assert.deepEqual(
    [error.command, error.code, error.hop, error.exitStatus],
    ['tunnel machines', 'TOKEN_MISSING', 'client', 3],
  )
})

test('nobody at the address is status 4, and for ssh and exec 255', async (t) => {
  const env = isolated(await tempFolder(t), { TUNNEL_TOKEN: 'x', TUNNEL_URL: 'http://127.0.0.1:1' })
  const lines: [string, number][] = [
    ['machines', 4],
    ['status', 4],
    ['key', 4],
    ['stdio home', 4],
    ['request http://home:80/', 4],
    ['exec home -- true', 255],
    ['shell home', 255],
    ['cp home:a b', 4],
  ]
  const printed = await tunnelLines(
    lines.map(([line]) => line.split(' ')),
    env,
  )
  for (const [index, [line, status]] of lines.entries()) {
    const { code, stderr } = printed[index]!
    assert.equal(code, status, `${line}: ${stderr}`)
    assert.match(stderr, /^tunnel \w+: [^\n]*CONNECT_REFUSED[^\n]*\n$/)
  }
})

test('an output that cannot be written is told, and never status 0', async (t) => {
  const skipped = existsSync('/dev/full') ? undefined : 'there is no /dev/full'
  if (skipped !== undefined) return t.skip(skipped)
  const env = isolated(await tempFolder(t))
  const toFull = (line: string) =>
    run('sh', ['-c', `exec ${TUNNEL.map((word) => `'${word}'`).join(' ')} ${line} > /dev/full`], { env })
  for (const line of ['--help', 'config', 'machines --help', 'config --json']) {
    const { code, stderr } = await toFull(line)
    assert.equal(code, 1, line)
    assert.match(stderr, /^tunnel[ \w-]*: the output cannot be written \(ENOSPC\)\n$/)
  }
})
