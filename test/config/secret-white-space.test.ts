import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { loadSettings } from '../../config/index.ts'
import { tempFolder } from '../support/tree.ts'

test('a secret is the same from a variable and from a file, whatever white space a copy left at its end', async (t) => {
  const folder = await tempFolder(t)
  const secret = 's'.repeat(40)
  for (const end of ['', '\n', '\n\n', '\r\n', ' \t\n']) {
    const file = join(folder, 'secret')
    await writeFile(file, secret + end, { mode: 0o600 })
    for (const env of [{ TUNNEL_JWT_SECRET: secret + end }, { TUNNEL_JWT_SECRET_FILE: file }]) {
      const { settings } = loadSettings({ env, stateDir: join(folder, 'state') })
      assert.equal(settings.auth.secret, secret)
    }
  }
})

test("every setting that its schema marks as secret loses the white space at its variable's end", async (t) => {
  const env = { TUNNEL_METRICS_TOKEN: 'a token of the metrics \r\n' }
  const { settings } = loadSettings({ env, stateDir: join(await tempFolder(t), 'state') })
  assert.equal(settings.metrics.token, 'a token of the metrics')
})
