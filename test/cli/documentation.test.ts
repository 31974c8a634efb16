import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import test from 'node:test'
import { COMMANDS } from '../../cli/commands.ts'
import { PROFILES, SettingsSchema } from '../../config/index.ts'
import { type SchemaNode, settingsOf } from '../../config/nodes.ts'

const read = (path: string) => readFile(new URL(`../../${path}`, import.meta.url), 'utf8')

test('docs/CONFIGURATION.md has every setting with its default, and no other', async () => {
  const rows = (await read('docs/CONFIGURATION.md')).matchAll(/^\| `([\w.]+)` \| (.+?) \| .+ \|$/gm)
  const documented = new Map(
    [...rows].map(([, name = '', value = '']) => [name, value.replaceAll(/`|(?<=\d)_(?=\d)/g, '')]),
  )
  const settings = new Map(
    [...settingsOf(SettingsSchema as SchemaNode)].map(([path, node]) => [path.join('.'), node]),
  )
  assert.deepEqual([...documented.keys()].sort(), [...settings.keys()].sort())
  for (const [name, { default: value }] of settings) {
    if (value === undefined || value === '') continue
    assert.equal(documented.get(name), typeof value === 'string' ? value : JSON.stringify(value), name)
  }
})

test('docs/CONFIGURATION.md begins the meaning of every setting with what `tunnel config --explain` says', async () => {
  const rows = (await read('docs/CONFIGURATION.md')).matchAll(/^\| `([\w.]+)` \| .+? \| (.+) \|$/gm)
  const documented = new Map([...rows].map(([, name = '', meaning = '']) => [name, meaning.toLowerCase()]))
  for (const [path, { description }] of settingsOf(SettingsSchema as SchemaNode)) {
    const name = path.join('.')
    assert.ok(description !== undefined, `${name} has no description`)
    assert.ok(documented.get(name)?.startsWith(description.toLowerCase()), `${name}: ${description}`)
  }
})

test('README names every command and every profile', async () => {
  const text = await read('README.md')
  for (const name of Object.keys(COMMANDS)) assert.ok(text.includes(`tunnel ${name}`), name)
  for (const name of PROFILES) assert.ok(text.includes(`\`${name}\``), name)
})
