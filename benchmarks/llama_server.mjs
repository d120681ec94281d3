// llama.cpp (node-llama-cpp) behind /v1/completions, for the load of benchmarks.serving: greedy, streamed, all callers in one batch.
//   node llama_server.mjs --port PORT MODEL.gguf SEQUENCES CONTEXT THREADS
// It is no server for people: no fields are checked, and a caller beyond SEQUENCES waits.
import {getLlama, LlamaLogLevel} from "node-llama-cpp";
import {createServer} from "node:http";

const [, , , port, path, sequences, contextSize, count] = process.argv;
const threads = Number(count);
const llama = await getLlama({gpu: false, build: "never", progressLogs: false, logLevel: LlamaLogLevel.error, maxThreads: threads});
const model = await llama.loadModel({modelPath: path, gpuLayers: 0});
const context = await model.createContext({sequences: Number(sequences), contextSize: Number(contextSize), threads, flashAttention: false});
const free = Array.from({length: Number(sequences)}, () => context.getSequence());
const waiting = [];

async function taken() {
    return free.pop() ?? new Promise((resolve) => waiting.push(resolve));
}

function given(sequence) {
    const next = waiting.shift();
    next ? next(sequence) : free.push(sequence);
}

async function complete(asked, response) {
    const sequence = await taken();
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    try {
        response.writeHead(200, {"content-type": "text/event-stream"});
        const told = model.tokenize(asked.prompt, true);
        const written = [];
        for await (const token of sequence.evaluate([...told], {temperature: 0, yieldEogToken: false})) {
            const text = model.detokenize([token], false, [...told, ...written]);
            written.push(token);
            if (text)
                response.write(`data: ${JSON.stringify({choices: [{index: 0, text}]})}\n\n`);
            if (written.length === asked.max_tokens || gone.signal.aborted)
                break;
        }
        response.end("data: [DONE]\n\n");
    } finally {
        await sequence.clearHistory();
        given(sequence);
    }
}

createServer((request, response) => {
    if (request.method === "GET") {
        response.writeHead(200, {"content-type": "application/json"}).end(JSON.stringify({data: [{id: "gguf"}]}));
        return;
    }
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => complete(JSON.parse(Buffer.concat(parts).toString()), response).catch((error) => response.destroy(error)));
}).listen(Number(port), "127.0.0.1");
