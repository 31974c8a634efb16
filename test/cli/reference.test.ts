import assert from 'node:assert/strict'
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { COMMANDS } from '../../cli/commands.ts'
import { findProgram } from '../../cli/find-program.ts'
import { COMPLETION_FILES } from '../../cli/reference/files.ts'
import { run } from '../support/process.ts'
import { startProxy } from '../support/proxy.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, TUNNEL, tunnel } from './tunnel.ts'

const DIST = join(import.meta.dirname, '..', '..', 'dist')
const MAN = join(DIST, 'man')

/** Types each line with a Tab behind it into a zsh at a terminal, and prints what has become of it. */
const COMPLETE_IN_ZSH = `
zmodload zsh/zpty
zpty -b shell zsh -f -i
zpty -w shell "PS1= PROMPT= RPROMPT=; stty -echo; autoload -U compinit; compinit -D -u; source $1; show() { print -r -- \\"<<\\$BUFFER>>\\"; BUFFER= }; zle -N show; bindkey '^X' show; unsetopt automenu; print rea''dy"
zpty -r -m shell out '*ready*'
shift
for line in "$@"; do
  zpty -w -n shell "$line"$'\\t'$'\\x18'
  zpty -r -m shell out '*<<*>>*'
  print -r -- "\${\${out##*<<}%%>>*}"
done
zpty -d shell
`

test('every command has a man page, and man finds no fault with any', async (t) => {
  const names = Object.keys(COMMANDS).map((name) => `tunnel-${name.replaceAll(' ', '-')}.1`)
  assert.deepEqual(readdirSync(MAN).sort(), ['tunnel.1', ...names].sort())
  if (findProgram('man') === undefined) return t.skip('there is no man')
  const env = { ...process.env, MANWIDTH: '80', LC_ALL: 'C.UTF-8' }
  // What man runs for each page, at once for all.
  const pages = readdirSync(MAN).map((name) => join(MAN, name))
  const words = ['-P-cbou', '-Kutf8', '-Tutf8', '-mandoc', '-ww', ...pages]
  const { code, stdout, stderr } = await run('groff', words, { env })
  assert.deepEqual([code, stderr], [0, ''])
  for (const heading of ['NAME', 'SYNOPSIS', 'DESCRIPTION'])
    assert.equal(stdout.match(new RegExp(`^${heading}$`, 'gm'))?.length, pages.length, heading)
  const shown = await run('man', ['--warnings', '-l', join(MAN, 'tunnel.1')], { env })
  assert.deepEqual([shown.code, shown.stderr], [0, ''])
})

test('help, man page and completion of a command have the same options', async () => {
  const { stdout: help } = await tunnel(['install', '--help'])
  const options = [...help.matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].map(([, name = '']) => name)
  assert.ok(options.includes('--token-file') && options.includes('--context'))
  const page = readFileSync(join(MAN, 'tunnel-install.1'), 'utf8').replaceAll('\\-', '-')
  const scripts = Object.values(COMPLETION_FILES).map((file) => readFileSync(join(DIST, file), 'utf8'))
  for (const option of options) {
    assert.ok(page.includes(option), option)
    for (const script of scripts)
      assert.ok(script.includes(option) || script.includes(`-l ${option.slice(2)}`))
  }
})

/** Nobody waits for long for a Tab: where the computer is so busy that names come too late, it is pressed again. */
async function assertCompleted<T>(complete: () => Promise<T>, wanted: T): Promise<void> {
  let found = await complete()
  for (let more = 4; more > 0 && !isDeepStrictEqual(found, wanted); more--) found = await complete()
  assert.deepEqual(found, wanted)
}

test('a shell completes commands, options, and the names of machines, contexts and profiles', async (t) => {
  const proxy = await startProxy(t)
  for (const name of ['home', 'nas']) await proxy.startAgent(name, 'alice', '127.0.0.1:1')
  const folder = await tempFolder(t)
  const env = isolated(folder, { HOME: folder, TUNNEL_TOKEN: proxy.tokenOf('alice') })
  for (const name of ['work', 'private']) await tunnel(['use', name, '--url', proxy.url], { env })
  const file = join(folder, 'tunnel')
  writeFileSync(file, `#!/bin/sh\nexec ${TUNNEL.map((word) => `'${word}'`).join(' ')} "$@"\n`)
  chmodSync(file, 0o755)
  env.PATH = `${folder}:${process.env.PATH}`

  const lines: [line: string, completed: string[]][] = [
    ['tunnel mach', ['machines']],
    ['tunnel machines --pro', ['--profile']],
    ['tunnel machines --profile st', ['stable-network']],
    ['tunnel install s', ['server']],
    ['tunnel agent en', ['enroll']],
    ['tunnel agent enroll --ur', ['--url']],
    ['tunnel au', ['audit']],
    ['tunnel audit v', ['verify']],
    ['tunnel help mach', ['machines']],
    ['tunnel ls --js', ['--json']],
    ['tunnel ssh alice@h', ['alice@home']],
    ['tunnel config --explain heartbeat.int', ['heartbeat.intervalMs']],
    ['tunnel use w', ['work']],
    ['tunnel machines --context private --forget ', ['home', 'nas']],
    ['tunnel ssh h', ['home']],
    ['tunnel ssh -p 22 h', ['home']],
    ['tunnel ssh -4vp 22 -L 8080:127.0.0.1:80 h', ['home']],
    ['tunnel ssh -p22 --profile stable-network -o BatchMode=yes alice@h', ['alice@home']],
    ['tunnel ssh -p h', []],
    [`tunnel ssh -vi ${folder}/tun`, [file]],
    ['tunnel cp h', ['home:']],
    [`tunnel cp home:x ${folder}/tun`, [file]],
    // Nobody there: nothing, and quickly.
    ['tunnel machines --url http://127.0.0.1:1 --forget ', []],
  ]
  await t.test('bash', { skip: findProgram('bash') === undefined && 'there is no bash' }, async () => {
    const script = join(DIST, COMPLETION_FILES.bash)
    assert.deepEqual(await run('bash', ['-n', script]).then(({ code, stderr }) => [code, stderr]), [0, ''])
    const calls = lines.map(
      ([line]) => `COMP_LINE='${line}'; COMP_POINT=\${#COMP_LINE}; _tunnel; echo "\${COMPREPLY[*]}"`,
    )
    const complete = async () => {
      const { stdout, stderr } = await run('bash', ['-c', `. ${script}\n${calls.join('\n')}`], { env })
      assert.equal(stderr, '')
      const found = stdout.trimEnd().split('\n').concat('').slice(0, lines.length)
      return found.map((words) => words.split(' ').filter(Boolean).sort())
    }
    await assertCompleted(
      complete,
      lines.map(([, completed]) => completed),
    )
  })
  await t.test('fish', { skip: findProgram('fish') === undefined && 'there is no fish' }, async () => {
    const script = join(DIST, COMPLETION_FILES.fish)
    assert.deepEqual(await run('fish', ['-n', script]).then(({ code, stderr }) => [code, stderr]), [0, ''])
    const calls = lines.map(([line]) => `complete -C '${line}' | string replace -r '\\t.*' ''; echo .`)
    const complete = async () => {
      const { stdout } = await run('fish', ['-N', '-c', `source ${script}; ${calls.join('; ')}`], { env })
      const found = stdout.split('.\n').slice(0, -1)
      return found.map((words) => words.split('\n').filter(Boolean).sort())
    }
    await assertCompleted(
      complete,
      lines.map(([, completed]) => completed),
    )
  })
  await t.test('zsh', { skip: findProgram('zsh') === undefined && 'there is no zsh' }, async () => {
    const script = join(DIST, COMPLETION_FILES.zsh)
    assert.deepEqual(await run('zsh', ['-n', script]).then(({ code, stderr }) => [code, stderr]), [0, ''])
    const shell = join(folder, 'complete.zsh')
    writeFileSync(shell, COMPLETE_IN_ZSH)
    const complete = async () => {
      const words = ['-f', shell, script, ...lines.map(([line]) => line)]
      const { code, stdout } = await run('zsh', words, { env: { ...env, fpath: '' } })
      assert.equal(code, 0)
      return stdout.trimEnd().split('\n')
    }
    // What several stand for is left as it is.
    const completed = lines.map(([line, [first = '', ...more]]) => {
      const begun = line.slice(0, line.lastIndexOf(' ') + 1)
      if (first === '' || more.length > 0) return line
      return `${begun}${first}${first.endsWith(':') ? '' : ' '}`
    })
    await assertCompleted(complete, completed.join('\n').trimEnd().split('\n'))
    // A start file that has not run compinit is no reason for an error at each start.
    const bare = await run('zsh', ['-fc', `source ${script}; print -r -- $_comps[tunnel]`], { env })
    assert.deepEqual([bare.code, bare.stdout, bare.stderr], [0, '_tunnel\n', ''])
  })
})

test('the package names every man page, for npm to put them where man looks', () => {
  const text = readFileSync(join(DIST, '..', 'package.json'), 'utf8')
  const { man } = JSON.parse(text) as { man: string[] }
  // `directories.man` would do, but npm install -g does not read it.
  assert.deepEqual(
    man,
    readdirSync(MAN)
      .map((name) => `./dist/man/${name}`)
      .sort(),
  )
})
