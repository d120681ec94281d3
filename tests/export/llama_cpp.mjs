// What llama.cpp says of a GGUF file, for tests: a job in JSON on standard input, an answer in JSON on standard output.
//   {model, texts, plain, prompt, length, scored} -> {ids, plain, written, nats, ends}
// `texts` are read with special tokens and `plain` without; `prompt` and `scored` are ids, and `nats` the mean cost of each scored token but the first.
import {getLlama, LlamaLogLevel} from "node-llama-cpp";
import {readFileSync} from "node:fs";

const job = JSON.parse(readFileSync(0, "utf-8"));
const llama = await getLlama({gpu: false, build: "never", progressLogs: false, logLevel: LlamaLogLevel.error});
const model = await llama.loadModel({modelPath: job.model, gpuLayers: 0});
const answer = {
    ids: job.texts.map((text) => model.tokenize(text, true)),
    plain: job.plain.map((text) => model.tokenize(text, false)),
    written: [],
    ends: [...Array(model.fileInfo.metadata.tokenizer.ggml.tokens.length).keys()].filter((id) => model.isEogToken(id))
};
const context = await model.createContext({contextSize: job.contextSize, threads: 1, flashAttention: false});
const sequence = context.getSequence();
if (job.prompt.length > 0) {
    for await (const token of sequence.evaluate(job.prompt, {temperature: 0, yieldEogToken: true})) {
        answer.written.push(token);
        if (answer.written.length === job.length)
            break;
    }
    await sequence.clearHistory();
}
if (job.scored.length > 0) {
    const next = {probabilities: true, options: {temperature: 1, topK: 0, topP: 1, minP: 0}};
    const said = await sequence.controlledEvaluate(job.scored.map((token) => [token, {generateNext: next}]));
    let nats = 0;
    for (let at = 1; at < job.scored.length; at++)
        nats -= Math.log(said[at - 1].next.probabilities.get(job.scored[at]));
    answer.nats = nats / (job.scored.length - 1);
}
process.stdout.write(JSON.stringify(answer));
process.exit(0);
