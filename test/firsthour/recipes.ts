import assert from 'node:assert/strict'
import { killTree } from '../support/proc.ts'
import { requireSystem } from '../support/system.ts'
import type { Said } from './host.ts'
import { blocksOf } from './printed.ts'
import type { Scene } from './scene.ts'
import { type Rule, type WalkOptions, walk } from './walk.ts'

const DOCUMENT = 'docs/RECIPES.md'
/** Answers as a model's server does, in words; after the second it waits for the file `~/read`, so that a reader is seen to stream. */
const MODEL = `
import { createServer } from 'node:http'
import { existsSync } from 'node:fs'
createServer(async (request, response) => {
  for await (const _ of request);
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (const word of ['one', 'two', 'three']) {
    response.write('data: ' + word + '\\n\\n')
    while (word === 'two' && !existsSync('read')) await new Promise((go) => setTimeout(go, 20))
  }
  response.end()
}).listen(11434, '127.0.0.1')
createServer((_, response) => response.end('a page of ' + process.env.USER + '\\n')).listen(8080, '127.0.0.1', () => console.log('listening'))
`
const POSTGRES = '$(ls -d /usr/lib/postgresql/*/bin | tail -1)'

interface Recipe {
  /** Programs without which it is left out. */
  needs?: readonly string[]
  rules?: readonly Rule[]
  /** What is there already when somebody reads the recipe. */
  ground?: (scene: Scene) => Promise<unknown>
  /** What is to be seen at the end. */
  ends?: (scene: Scene) => Promise<void>
}

function says(line: RegExp, pattern: RegExp): Rule {
  return { line, said: ({ stdout }: Said) => assert.match(stdout, pattern) }
}

/** Every recipe by its heading: what it stands on, and what shows that it worked. */
function recipesFor(token: string): Record<string, Recipe> {
  const pasted: Rule = { line: /^tunnel use /, input: () => token }
  return {
    'A language model at home, from an application in the cloud': {
      ground: ({ hosts: { cloud } }) =>
        cloud.must('alice', 'mkdir node_modules && ln -s /opt/tunnel node_modules/ssh-websocket-tunnel'),
      rules: [
        {
          line: /^node ask\.mjs$/,
          async instead({ hosts: { cloud, machine } }, line) {
            const asked = cloud.start('alice', `export TUNNEL_TOKEN=${token.trim()}; exec ${line}`)
            await asked.line('data: two')
            assert.doesNotMatch(asked.stdout, /three/)
            await machine.must('alice', 'touch read')
            await asked.line('data: three')
            assert.deepEqual(await asked.exit, { code: 0, signal: null })
          },
        },
        pasted,
        says(/^curl /, /data: one\s+data: two\s+data: three/),
      ],
    },
    git: { needs: ['git'], rules: [says(/^git ls-remote/, /refs\/heads\/main/)] },
    'A database': {
      needs: ['psql', 'redis-server'],
      async ground({ hosts: { machine } }) {
        await machine.must('alice', `${POSTGRES}/initdb -A trust -U alice -D database`)
        const options = '-D database -k /tmp -c listen_addresses=127.0.0.1'
        await machine.start('alice', `exec ${POSTGRES}/postgres ${options} 2>&1`).line(/ready to accept/)
        await machine.start('alice', "redis-server --save '' --bind 127.0.0.1").line(/Ready to accept/i)
      },
      rules: [says(/^psql /, /^ +42$/m), says(/^redis-cli /, /^OK$/m)],
      ends: async ({ hosts: { machine } }) =>
        assert.equal(await machine.must('alice', 'redis-cli get answer'), '42\n'),
    },
    'VS Code (Remote-SSH)': {
      rules: [{ line: /sleep 1000/, until: /^listeningOn==machine$/ }, says(/^curl /, /^a page of alice$/m)],
    },
    JetBrains: {
      rules: [
        { line: /sleep 1000/, until: /^started on machine$/ },
        says(/^tar /, /^unpacked$/m),
        says(/^curl /, /^a page of alice$/m),
      ],
    },
    Ansible: {
      needs: ['ansible'],
      rules: [
        {
          line: /^ansible /,
          // Else fifty names of one machine share a connection, which fifty machines do not.
          typed: (line) => `ANSIBLE_SSH_ARGS='-o ControlMaster=no' ${line}`,
          said: ({ stdout }) => assert.equal(stdout.match(/ SUCCESS /g)?.length, 50, stdout),
        },
      ],
    },
    'Backups: restic, Borg and rclone': {
      needs: ['restic', 'borg', 'rclone'],
      ends: async ({ hosts: { machine } }) =>
        assert.equal(await machine.must('alice', 'cat documents/letter.txt'), 'precious\n'),
    },
    'A bastion in front': {
      async ground(scene) {
        await scene.startSshd('cloud')
        await scene.hosts.laptop.must('alice', 'ssh-keyscan -t ed25519 bastion 2>&- >> .ssh/known_hosts')
      },
      rules: [pasted, says(/hostname$/, /^machine$/m)],
    },
    "A phone's browser": {
      ends: async ({ hosts: { laptop } }) => {
        const page = await laptop.must('alice', 'curl -s http://$(hostname -I | cut -d" " -f1):8080/')
        assert.equal(page, 'a page of alice\n')
      },
    },
    'Instead of mosh': {
      needs: ['tmux', 'script'],
      rules: [
        {
          line: /^ssh -t /,
          async instead({ hosts: { laptop, machine } }, line) {
            const attach = () => laptop.start('alice', `script -qefc '${line}' /dev/null`, { stdin: 'pipe' })
            const first = attach()
            await first.line(/\[main\]/)
            first.write('x=kept; echo set-$x\n')
            await first.line('set-kept')
            killTree(first.pid)
            const again = attach()
            await again.line(/\[main\]/)
            again.write('hostname > seen-$x; exit\n')
            await again.exit
            assert.equal(await machine.must('alice', 'cat seen-kept'), 'machine\n')
          },
        },
      ],
    },
  }
}

export const RECIPE_NAMES: readonly string[] = Object.keys(recipesFor(''))

/** What docs/RECIPES.md has, in its order. */
export function printedRecipes(): string[] {
  return [...new Set(blocksOf(DOCUMENT).map(({ section }) => section))]
}

/** The services of the machine that the recipes talk to. */
export async function startServices({ hosts: { machine } }: Scene): Promise<void> {
  await machine.write('alice', '~/model.mjs', MODEL)
  await machine.start('alice', 'node model.mjs').line('listening')
}

/** Why a recipe is left out here, or undefined. */
export function whyNotRecipe(name: string): string | undefined {
  return requireSystem(...(recipesFor('')[name]?.needs ?? []))
}

/** Does what one recipe says, line by line. */
export async function walkRecipe(
  scene: Scene,
  name: string,
  token: string,
  options: Pick<WalkOptions, 'typing'> = {},
): Promise<void> {
  const recipe = recipesFor(token)[name]
  if (recipe === undefined) throw new Error(`nobody says what shows that "${name}" worked`)
  await recipe.ground?.(scene)
  const blocks = blocksOf(DOCUMENT).filter(({ section }) => section === name)
  const { rules = [] } = recipe
  const running = await walk(scene, blocks, { ...options, rules, timeoutMs: 300_000 })
  await recipe.ends?.(scene)
  // The next recipe may want the same port.
  for (const { pid } of running) killTree(pid)
  await Promise.all(running.map((program) => program.exit))
}
